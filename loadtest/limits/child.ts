/** Measures inside a process: a script of this folder as a child that tells its figures over IPC, once, and ends. */
import { fileURLToPath } from 'node:url';

import { startProcess } from '../../test/harness/process.ts';

/** The report of `script`, called with `args`. @throws with all it said when it ends without one */
export async function reportOf<Report>(
  script: string,
  args: readonly (string | number)[],
  flags: readonly string[] = [],
): Promise<Report> {
  const file = fileURLToPath(new URL(script, import.meta.url));
  await using running = await startProcess(process.execPath, [...flags, file, ...args.map(String)], {
    ipc: true,
  });
  const told = Promise.withResolvers<Report>();
  running.child.once('message', (report: Report) => told.resolve(report));
  void running.exited.then(() => told.reject(new Error(`${script} ended:\n${running.output()}`)));
  return await told.promise;
}
