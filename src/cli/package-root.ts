/** Where this package lies: the folder of `package.json`, above `src` in a checkout and above `dist` when installed. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** @throws Error when no folder above this file has a `package.json`: the installation is broken. */
export function packageRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'package.json'))) {
    const above = path.dirname(folder);
    if (above === folder) throw new Error('the package.json of spillway is missing');
    folder = above;
  }
  return folder;
}

export function packageVersion(): string {
  const text = readFileSync(path.join(packageRoot(), 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** The commit this runs from: told at build time, else what a checkout's HEAD names; '' when nobody knows. */
export function packageCommit(environment: Readonly<Record<string, string | undefined>>): string {
  const told = environment['SPILLWAY_COMMIT'];
  if (told !== undefined) return told;
  try {
    const folder = path.join(packageRoot(), '.git');
    const head = readFileSync(path.join(folder, 'HEAD'), 'utf8').trim();
    if (!head.startsWith('ref: ')) return head.slice(0, 12);
    return readFileSync(path.join(folder, head.slice('ref: '.length)), 'utf8')
      .trim()
      .slice(0, 12);
  } catch {
    return '';
  }
}
