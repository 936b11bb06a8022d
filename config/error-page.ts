/**
 * The operator's own error page: read when the configuration is, so that a reload either has a page that can be shown or
 * changes nothing, and a worker that starts later needs no file. In the effective configuration its text stands beside its
 * path, so that a new text is a change of the configuration; operators are shown the path.
 */
import { errorPageFaults } from '../src/kernel/error-page.ts';
import { readText } from './files.ts';
import type { Finding } from './findings.ts';
import type { Source } from './source.ts';
import { treeOf } from './tree.ts';

export interface ReadPage {
  /** Null: there is none, or it cannot be used. */
  readonly page: { readonly path: string; readonly text: string } | null;
  readonly findings: readonly Finding[];
}

/** @param source with absolute paths, as `resolveFiles` leaves it; what is not a path is the schema's to tell */
export function readErrorPage(source: Source): ReadPage {
  const { errorPage } = treeOf(source.value);
  if (typeof errorPage !== 'string' || errorPage === '') return { page: null, findings: [] };
  const { text, reason } = readText(errorPage);
  const faults = text === null ? [`the page cannot be used: ${reason}`] : errorPageFaults(text);
  return {
    page: text === null || faults.length > 0 ? null : { path: errorPage, text },
    findings: faults.map((message) => source.find('error', ['errorPage'], message)),
  };
}
