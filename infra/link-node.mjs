/**
 * Puts the project's own Node first on the path of its npm scripts.
 *
 * The runtime comes as an optional package of the machine's platform. All its siblings name the same command, `node`, and
 * npm 10 then links none of them, so this links it (npm's `prepare` step, after every install; nothing is fetched). Plain
 * JavaScript, since it runs under whatever Node the machine has. Where there is no such package the machine's own Node
 * serves, and `engines` says which is new enough.
 */
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const modules = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'node_modules');
const link = path.join(modules, '.bin', 'node');
const { platform, arch } = process;
const target = [`node-${platform}-${arch}`, `node-bin-${platform}-${arch}`]
  .map((name) => path.join(modules, name, 'bin', 'node'))
  .find((file) => existsSync(file));

// On Windows npm writes command files instead of links, and does so for every package.
if (target !== undefined && platform !== 'win32' && !existsSync(link)) {
  mkdirSync(path.dirname(link), { recursive: true });
  symlinkSync(path.relative(path.dirname(link), target), link);
}
