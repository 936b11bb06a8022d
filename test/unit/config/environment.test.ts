import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate } from './certificate.ts';
import { formatFinding } from '../../../config/findings.ts';
import { keyDigest } from '../../../config/keys.ts';
import { loadConfiguration } from '../../../config/load.ts';
import { faults, loaded, REQUIRED } from './load-text.ts';

describe('the environment', () => {
  test('a variable stands for text, a default for a variable that is not set or empty', () => {
    const text = `${REQUIRED}admin: { token: "a-\${TOKEN}-\${OTHER:-z}" }\n`;
    expect(loaded(text, { TOKEN: 't' }).admin.token).toBe('a-t-z');
    expect(loaded(text, { TOKEN: 't', OTHER: '' }).admin.token).toBe('a-t-z');
    expect(loaded(text, { TOKEN: '', OTHER: 'o' }).admin.token).toBe('a--o');
  });

  test('a variable without a value is a fault at its place, once', () => {
    expect(faults(`${REQUIRED}shutdown:\n  delay: \${NOPE}\n`)).toEqual([
      '5:10 the environment has no `NOPE`, and there is no default (${NOPE:-…}), at shutdown.delay',
    ]);
    expect(faults(`${REQUIRED}admin: { token: "\${toString}" }\n`)).toHaveLength(1);
  });

  test('where a number or a boolean belongs, the text becomes one, quoted or not', () => {
    const text = `${REQUIRED}workers: "\${WORKERS}"\nadmin:\n  port: \${PORT:-7}\n  openMetrics: \${OPEN:-true}\n  token: \${TOKEN:-5}\n`;
    const configuration = loaded(text, { WORKERS: '3' });
    expect(configuration.workers).toBe(3);
    expect(configuration.admin).toMatchObject({ port: 7, openMetrics: true, token: '5' });
    expect(loaded(text, { WORKERS: 'auto' }).workers).toBe('auto');
  });

  test('a variable inside brackets without quotes is told to be quoted', () => {
    expect(faults(`${REQUIRED}admin: { port: \${PORT}, openMetrics: \${OPEN} }\n`)).toEqual([
      '4:17 Unexpected flow-map-start at node end (inside `{ }` and `[ ]`, a value with `${…}` needs quotes)',
    ]);
  });

  test('a bare number from the environment is no duration either', () => {
    expect(faults(`${REQUIRED}shutdown: { delay: "\${DELAY}" }\n`, { DELAY: '5' })).toEqual([
      '4:20 a bare number where a unit belongs: a duration is written 250ms, 2s, 5m, 8h or 1d, at shutdown.delay',
    ]);
  });

  test('what looks like a variable and is none is a fault; two dollars are a dollar', () => {
    expect(faults(`${REQUIRED}admin: { token: "\${1a}" }\n`)[0]).toMatch(/^4:17 `\$\{` begins a variable/);
    expect(faults(`${REQUIRED}admin: { token: "\${open" }\n`)[0]).toMatch(/^4:17 `\$\{` begins a variable/);
    expect(loaded(`${REQUIRED}admin: { token: "$\${A}$5" }\n`).admin.token).toBe('${A}$5');
  });

  test('a value of the environment is not replaced again', () => {
    expect(loaded(`${REQUIRED}admin: { token: "\${A}" }\n`, { A: '${B}', B: 'no' }).admin.token).toBe('${B}');
  });
});

describe('files that the configuration names', () => {
  let folder = '';
  const write = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'spillway-config-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const readFile = (text: string): string[] => {
    const result = loadConfiguration(write('spillway.yaml', text), {});
    return result.ok ? [] : result.faults.map((each) => formatFinding(each).replace(`${folder}/`, ''));
  };

  test('a secret is read beside the configuration, without its last line end', () => {
    write('token', 'hush \n');
    const result = loadConfiguration(
      write('spillway.yaml', `${REQUIRED}admin: { token: { file: token } }\n`),
      {},
    );
    expect(result.ok && result.configuration.admin.token).toBe('hush ');
  });

  test('a secret whose file is missing is a fault where the file is named', () => {
    expect(readFile(`${REQUIRED}admin: { token: { file: gone } }\n`)).toEqual([
      'spillway.yaml:4:25: error: the secret is not in `gone`: there is no such file, at admin.token.file',
    ]);
  });

  test('a secret that could not be read is not judged besides', () => {
    const sections = `redis: { url: { file: gone } }
admin: { host: 0.0.0.0, token: { file: gone } }
clients: { keys: [{ key: { file: gone }, client: a }, { key: { file: gone }, client: b }] }
`;
    const reason = 'the secret is not in `gone`: there is no such file';
    expect(readFile(REQUIRED + sections)).toEqual([
      `spillway.yaml:4:23: error: ${reason}, at redis.url.file`,
      `spillway.yaml:5:40: error: ${reason}, at admin.token.file`,
      `spillway.yaml:6:34: error: ${reason}, at clients.keys[0].key.file`,
      `spillway.yaml:6:70: error: ${reason}, at clients.keys[1].key.file`,
    ]);
  });

  test('`file` is no way to read files into anything else', () => {
    write('word', 'info');
    expect(readFile(`${REQUIRED}log: { level: { file: word } }\n`)).toHaveLength(1);
  });

  test('certificates become absolute paths; PEM text stays', () => {
    const made = makeCertificate(folder, 'a');
    const pem = readFileSync(made.key, 'utf8').replaceAll('\n', '\\n');
    const tls = `tls: { certificates: [{ cert: a.crt, key: "${pem}" }, { cert: { file: a.crt }, key: ${made.key} }] }`;
    const text = REQUIRED.replace('port: 8080', `port: 8080, ${tls}`);
    const result = loadConfiguration(write('spillway.yaml', text), {});
    if (!result.ok) throw new Error(result.faults.map(formatFinding).join('\n'));
    const certificates = result.configuration.listeners[0]?.tls?.certificates;
    expect(certificates?.[0]?.cert).toBe(join(folder, 'a.crt'));
    expect(certificates?.[0]?.key).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect(certificates?.[1]).toEqual(made);
  });

  test('a certificate that is not there, is none, or has another key is a fault at its place', () => {
    const made = makeCertificate(folder, 'b');
    const other = makeCertificate(folder, 'c');
    write('none.crt', 'no certificate');
    const fault = (pair: string): string => {
      const text = REQUIRED.replace('port: 8080', `port: 8080, tls: { certificates: [${pair}] }`);
      const result = loadConfiguration(write('spillway.yaml', text), {});
      return result.ok ? '' : result.faults.map(formatFinding).join('\n');
    };
    expect(fault(`{ cert: gone.crt, key: ${made.key} }`)).toMatch(/:\d+:\d+: error: cannot be read: ENOENT/);
    expect(fault(`{ cert: none.crt, key: ${made.key} }`)).toMatch(/is no PEM that can be used/);
    expect(fault(`{ cert: ${made.cert}, key: ${other.key} }`)).toMatch(/does not belong to the certificate/);
    expect(fault(`{ cert: ${made.cert}, key: ${made.key} }`)).toBe('');
  });

  test('an authority for callers that is none is a fault, since TLS would take it in silence and trust nobody', () => {
    const made = makeCertificate(folder, 'e');
    const fault = (clientCa: string): string => {
      const pair = `certificates: [{ cert: ${made.cert}, key: ${made.key} }]`;
      const text = REQUIRED.replace('port: 8080', `port: 8080, tls: { ${pair}, clientCa: ${clientCa} }`);
      const result = loadConfiguration(write('spillway.yaml', text), {});
      return result.ok ? '' : result.faults.map(formatFinding).join('\n');
    };
    expect(fault(made.key)).toMatch(/is no PEM that can be used: .*at listeners\[0\]\.tls\.clientCa/);
    expect(fault('gone.crt')).toMatch(/cannot be read: ENOENT/);
    expect(fault(made.cert)).toBe('');
  });

  test('a fault elsewhere hides none of a certificate', () => {
    const made = makeCertificate(folder, 'd');
    const text = REQUIRED.replace(
      'port: 8080',
      `port: 8080, backlog: many, tls: { certificates: [{ cert: gone.crt, key: ${made.key} }] }`,
    ).replace('9001]', `9001], tls: { ca: ${made.key}, cert: ${made.cert} }`);
    const result = loadConfiguration(write('spillway.yaml', text), {});
    const places = result.ok ? [] : result.faults.map(({ path }) => path);
    expect(places).toContain('listeners[0].backlog');
    expect(places).toContain('listeners[0].tls.certificates[0].cert');
    expect(places).toContain('services.shop.tls.ca');
  });

  test('keys of the configuration need no keys file beside them', () => {
    expect(loaded(`${REQUIRED}clients: { keys: [{ key: one, client: acme }] }\n`).clients.keys).toEqual([
      { key: keyDigest('one'), client: 'acme', tier: 'default' },
    ]);
    expect(keyDigest('foo')).toBe('sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae');
  });

  test('keys come from the configuration and from the keys file, hashed', () => {
    write('keys.yaml', '- { key: "${FROM_ENV:-two}", client: beta, tier: gold }\n');
    const clients = 'clients: { keys: [{ key: one, client: acme }], keysFile: keys.yaml }\n';
    const result = loadConfiguration(
      write('spillway.yaml', `${REQUIRED}tiers: { gold: {} }\n${clients}`),
      {},
    );
    expect(result.ok && result.configuration.clients.keys).toEqual([
      { key: keyDigest('one'), client: 'acme', tier: 'default' },
      { key: keyDigest('two'), client: 'beta', tier: 'gold' },
    ]);
  });

  test('faults of the keys file stand in the keys file', () => {
    write('keys.yaml', '- { key: a, client: acme, teir: gold }\n- { key: b, client: acme, tier: silver }\n');
    write(
      'second.yaml',
      '- { key: a, client: acme }\n- { key: b, client: beta, tier: silver }\n- { key: a, client: gamma }\n',
    );
    expect(readFile(`${REQUIRED}clients: { keysFile: keys.yaml }\n`)).toEqual([
      'keys.yaml:1:27: error: unknown key `teir`, at [0].teir, did you mean `tier`?',
      'keys.yaml:2:33: error: there is no tier `silver`, at [1].tier',
    ]);
    expect(readFile(`${REQUIRED}clients: { keysFile: second.yaml }\n`)).toEqual([
      'second.yaml:2:33: error: there is no tier `silver`, at [1].tier',
      'second.yaml:3:10: error: this key stands in the list twice, at [2].key',
    ]);
    expect(readFile(`${REQUIRED}clients: { keysFile: third.yaml }\n`)).toEqual([
      'spillway.yaml:4:22: error: the keys are not there: there is no such file, at clients.keysFile',
    ]);
  });
});
