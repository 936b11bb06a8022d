/**
 * `spillway check [-c FILE] [--strict] [--json]`: judges a configuration without starting anything. It opens no port
 * and no connection; besides the file itself it reads only the secrets and keys that the file names.
 *
 * Findings are messages (stderr), one a line as compilers print them; the verdict is the data (stdout). With `--json`
 * both are one object on stdout.
 */
import { formatFinding } from '../../config/findings.ts';
import type { Finding } from '../../config/findings.ts';
import { loadConfiguration } from '../../config/load.ts';
import { EXIT } from './exit-codes.ts';
import type { Output } from './output.ts';

/** What `run` and `check` read when nothing else is said. */
const DEFAULT_FILE = 'spillway.yaml';

export interface CheckOptions {
  /** Path of the file; `spillway.yaml` here when left out. */
  readonly config?: string | undefined;
  /** Warnings fail the check too (exit code 4). */
  readonly strict?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** The exit code: 0 valid, 3 faults, 4 warnings under `strict`. */
export async function check(
  options: CheckOptions,
  output: Output,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const file = options.config ?? DEFAULT_FILE;
  const loaded = loadConfiguration(file, environment);
  const faults = loaded.ok ? [] : loaded.faults;
  const { warnings } = loaded;
  if (options.json === true) {
    output.json({ ok: loaded.ok, file, hash: loaded.ok ? loaded.hash : null, faults, warnings });
  } else {
    printFindings([...faults, ...warnings], output);
    const colour = loaded.ok ? 'green' : 'red';
    output.data(`${file}: ${output.onData(colour, verdict(loaded.ok, faults.length, warnings.length))}`);
  }
  if (!loaded.ok) return EXIT.configurationInvalid;
  return options.strict === true && warnings.length > 0 ? EXIT.warnings : EXIT.ok;
}

/** One line each, on stderr; also for `run` and `reload`, which meet the same findings. */
function printFindings(findings: readonly Finding[], output: Output): void {
  for (const finding of findings) {
    const line = formatFinding(finding);
    const mark = ` ${finding.severity}:`;
    const colour = finding.severity === 'error' ? 'red' : 'yellow';
    output.message(line.replace(mark, () => ` ${output.onMessage(colour, `${finding.severity}:`)}`));
  }
}

function verdict(ok: boolean, faults: number, warnings: number): string {
  const parts = [ok ? 'valid' : counted(faults, 'error')];
  if (warnings > 0) parts.push(counted(warnings, 'warning'));
  return parts.join(', ');
}

function counted(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}
