#!/usr/bin/env node
import { enableCompileCache } from 'node:module';
import process from 'node:process';

/**
 * The process entry, and the only place that ends a process. A worker takes the short way: no command line library, no
 * schema, no YAML.
 */
enableCompileCache();

if (process.argv[2] === 'worker' && process.send !== undefined) {
  const { startWorker } = await import('./gateway.ts');
  startWorker((code) => process.exit(code));
} else {
  const { runCli } = await import('./cli/program.ts');
  process.exit(
    await runCli(process.argv.slice(2), {
      run: async ({ config }) => {
        const { runGateway } = await import('./cli/run-gateway.ts');
        return await runGateway(config);
      },
    }),
  );
}
