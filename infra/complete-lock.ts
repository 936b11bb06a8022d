/**
 * Completes `package-lock.json` with the platform packages (optional dependencies of tools such as linters and bundlers)
 * that the registry in use did not offer when the lock was written.
 *
 * npm leaves out an optional package that it cannot fetch; `npm ci` then refuses the lock as out of step with the
 * packages that name it. An entry with version, os and cpu is enough: on another platform it is never fetched.
 * Run by `npm run lock`, after `npm install` has written the lock anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';

interface LockEntry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const SYSTEMS = [
  'openharmony',
  'android',
  'darwin',
  'freebsd',
  'netbsd',
  'openbsd',
  'sunos',
  'aix',
  'linux',
  'win32',
];
const PROCESSORS = [
  'arm64',
  'x64',
  'ia32',
  'ppc64',
  'riscv64',
  's390x',
  'mips64el',
  'loong64',
  'wasm32',
  'arm',
];

function platformEntry(name: string, version: string, dev: boolean): LockEntry {
  const system = SYSTEMS.find((word) => name.includes(word));
  const processor = PROCESSORS.find((word) => name.includes(word));
  const libc = name.endsWith('-musl')
    ? 'musl'
    : name.endsWith('-gnu') && system === 'linux'
      ? 'glibc'
      : undefined;
  return {
    version,
    ...(processor === undefined ? {} : { cpu: [processor] }),
    ...(dev ? { dev } : {}),
    ...(libc === undefined ? {} : { libc: [libc] }),
    optional: true,
    ...(system === undefined ? {} : { os: [system] }),
  };
}

const FILE = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(readFileSync(FILE, 'utf8')) as { packages: Record<string, LockEntry> };
const { packages } = lock;
for (const [path, entry] of Object.entries({ ...packages })) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (packages[key] === undefined && packages[`${path}/${key}`] === undefined) {
      packages[key] = platformEntry(name, version, entry.dev === true);
    }
  }
}
const { '': root, ...others } = packages;
const sorted = Object.entries(others).toSorted(([a], [b]) => a.localeCompare(b, 'en'));
writeFileSync(
  FILE,
  `${JSON.stringify({ ...lock, packages: { '': root, ...Object.fromEntries(sorted) } }, null, 2)}\n`,
);
