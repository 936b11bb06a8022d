/**
 * A finding: one thing that is wrong (error) or doubtful (warning) in a configuration, and where it stands.
 */

export interface Finding {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units as editors count. */
  readonly column: number;
  readonly severity: 'error' | 'warning';
  /** Where in the tree, `services.shop.instances[0].url`; '' for the file as a whole. */
  readonly path: string;
  /** What is wrong; holds no value of the file, which may be a secret, only names of things. */
  readonly message: string;
  /** What was probably meant, or ''. */
  readonly suggestion: string;
}

export type Path = readonly (string | number)[];

/** `FILE:LINE:COLUMN: error: what, at where in the tree, did you mean …` */
export function formatFinding(finding: Finding): string {
  const place = finding.path === '' ? '' : `, at ${finding.path}`;
  const hint = finding.suggestion === '' ? '' : `, did you mean \`${finding.suggestion}\`?`;
  return `${finding.file}:${finding.line}:${finding.column}: ${finding.severity}: ${finding.message}${place}${hint}`;
}

/** `['services', 'shop', 'instances', 0]` → `services.shop.instances[0]`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[A-Za-z0-9_-]+$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

/** In the order of the file; errors before warnings on one place. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  return [...findings].sort(
    (a, b) =>
      a.file.localeCompare(b.file) ||
      a.line - b.line ||
      a.column - b.column ||
      a.severity.localeCompare(b.severity) ||
      a.message.localeCompare(b.message),
  );
}
