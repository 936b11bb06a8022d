/**
 * Which paths are assets: parts of a page whose names change with its version.
 *
 * A pattern is a path in which `*` stands for any characters, slashes too: `/assets/*`, `/static/*.js`. Compiled to the texts
 * between the stars; the first must begin the path, the last must end it, the others are found in between, each as far to
 * the left as it can be. Linear in the path for each text, whatever the path is.
 */

export class AssetPaths {
  readonly #patterns: readonly (readonly string[])[];

  constructor(patterns: readonly string[]) {
    this.#patterns = patterns.map((pattern) => pattern.split('*'));
  }

  /** @param path in its normal form, without the query */
  has(path: string): boolean {
    for (const texts of this.#patterns) if (matches(path, texts)) return true;
    return false;
  }
}

function matches(path: string, texts: readonly string[]): boolean {
  const first = texts[0] ?? '';
  if (texts.length === 1) return path === first;
  const last = texts.at(-1) ?? '';
  if (path.length < first.length + last.length || !path.startsWith(first) || !path.endsWith(last))
    return false;
  let from = first.length;
  const end = path.length - last.length;
  for (let index = 1; index < texts.length - 1; index++) {
    const text = texts[index] ?? '';
    const at = path.indexOf(text, from);
    if (at < 0 || at + text.length > end) return false;
    from = at + text.length;
  }
  return true;
}
