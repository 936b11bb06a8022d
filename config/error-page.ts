/**
 * The operator's own error page: read when the configuration is, so that a reload either has a page that can be shown or
 * changes nothing, and a worker that starts later needs no file. In the effective configuration stands its text.
 */
import { errorPageFaults } from '../src/kernel/error-page.ts';
import { readText } from './files.ts';
import type { Finding } from './findings.ts';
import type { Source } from './source.ts';
import { treeOf } from './tree.ts';

export interface ReadPage {
  /** Null: there is none, or it cannot be used. */
  readonly text: string | null;
  readonly findings: readonly Finding[];
}

/** @param source with absolute paths, as `resolveFiles` leaves it; what is not a path is the schema's to tell */
export function readErrorPage(source: Source): ReadPage {
  const { errorPage } = treeOf(source.value);
  if (typeof errorPage !== 'string' || errorPage === '') return { text: null, findings: [] };
  const { text, reason } = readText(errorPage);
  const faults = text === null ? [`the page cannot be used: ${reason}`] : errorPageFaults(text);
  return {
    text: faults.length === 0 ? text : null,
    findings: faults.map((message) => source.find('error', ['errorPage'], message)),
  };
}
