/**
 * `spillway check [-c FILE] [--strict] [--no-resolve] [--json]`: judges a configuration without starting anything. It opens
 * no port and no connection to an instance; besides the file itself it reads the secrets, keys and certificates that the
 * file names, and asks the system whether its host names resolve. Where there are addresses only, nothing is asked.
 *
 * Findings are messages (stderr), one a line as compilers print them; the verdict is the data (stdout). With `--json`
 * both are one object on stdout.
 */
import { formatFinding, sortFindings } from '../../config/findings.ts';
import type { Finding } from '../../config/findings.ts';
import { loadConfiguration } from '../../config/load.ts';
import { EXIT } from './exit-codes.ts';
import type { Output } from './output.ts';
import { doubtNames, type LookUp } from './resolve-names.ts';

/** What `run` and `check` read when nothing else is said. */
const DEFAULT_FILE = 'spillway.yaml';

export interface CheckOptions {
  /** Path of the file; `spillway.yaml` here when left out. */
  readonly config?: string | undefined;
  /** Warnings fail the check too (exit code 4). */
  readonly strict?: boolean | undefined;
  /** False: host names are not looked up, for a check far from where they are known. */
  readonly resolve?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** The exit code: 0 valid, 3 faults, 4 warnings under `strict`. */
export async function check(
  options: CheckOptions,
  output: Output,
  environment: Readonly<Record<string, string | undefined>>,
  lookUp?: LookUp,
): Promise<number> {
  const file = options.config ?? DEFAULT_FILE;
  const loaded = loadConfiguration(file, environment);
  const faults = loaded.ok ? [] : loaded.faults;
  const doubts = options.resolve === false ? [] : await doubtNames(loaded.names, lookUp);
  const warnings = sortFindings([...loaded.warnings, ...doubts]);
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
