import { loadConfigurationText } from '../../../config/load.ts';
import type { Loaded } from '../../../config/load.ts';
import type { Configuration } from '../../../config/schema.ts';
import { formatFinding } from '../../../config/findings.ts';

/** What every configuration needs; tests put their section beside it. */
export const REQUIRED = `listeners: [{ port: 8080 }]
services: { shop: { instances: [http://127.0.0.1:9001] } }
routes: [{ path: /, service: shop }]
`;

export function load(text: string, environment: Record<string, string> = {}): Loaded {
  return loadConfigurationText(text, 'test.yaml', environment);
}

/** Loads `section` beside the required ones and fails the test with the faults if there are any. */
export function loaded(text: string, environment: Record<string, string> = {}): Configuration {
  const result = load(text, environment);
  if (!result.ok) throw new Error(result.faults.map(formatFinding).join('\n'));
  return result.configuration;
}

/** `LINE:COLUMN message, at path …` of each fault. */
export function faults(text: string, environment: Record<string, string> = {}): string[] {
  const result = load(text, environment);
  return result.ok
    ? []
    : result.faults.map((each) => formatFinding(each).replace(/^test\.yaml:(\d+:\d+): error:/, '$1'));
}

export function warnings(text: string, environment: Record<string, string> = {}): string[] {
  return load(text, environment).warnings.map((each) =>
    formatFinding(each).replace(/^test\.yaml:(\d+:\d+): warning:/, '$1'),
  );
}
