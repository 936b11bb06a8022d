import { describe, expect, it } from 'vitest';
import type { RequestFacts } from '../../../src/forwarding/request-facts.ts';
import { DEFAULT_HEAD_RULES, isWebsocketUpgrade, scanRequest } from '../../../src/forwarding/request-head.ts';

function scan(fields: readonly string[], method = 'POST', minor = 1): RequestFacts {
  const rules = { ...DEFAULT_HEAD_RULES, viaName: 'gw' };
  return scanRequest(['Host', 'a.example', ...fields], method, 1, minor, rules);
}

describe('the version', () => {
  it.each([
    [0, 9],
    [1, 2],
    [2, 0],
  ])('%d.%d is 505', (major, minor) => {
    expect(scanRequest(['Host', 'a'], 'GET', major, minor).code).toBe('SPW_HTTP_VERSION');
  });
});

describe('Host', () => {
  it('is one, and may be missing in 1.0 only', () => {
    expect(scanRequest([], 'GET', 1, 1).code).toBe('SPW_BAD_REQUEST');
    expect(scanRequest([], 'GET', 1, 0).code).toBe('');
    expect(scanRequest(['Host', 'a', 'host', 'a'], 'GET', 1, 1).code).toBe('SPW_BAD_REQUEST');
    expect(scanRequest(['Host', ''], 'GET', 1, 0).code).toBe('SPW_BAD_REQUEST');
  });

  it('is read in lower case without its port', () => {
    const facts = scanRequest(['HOST', 'A.Example:81'], 'GET', 1, 1);
    expect(facts).toMatchObject({ code: '', host: 'A.Example:81', hostName: 'a.example', hostPort: 81 });
  });
});

describe('framing', () => {
  it('is a canonical length', () => {
    expect(scan(['Content-Length', '010'])).toMatchObject({ code: '', contentLength: 10, hasBody: true });
    expect(scan(['Content-Length', '0'])).toMatchObject({ code: '', contentLength: 0, hasBody: false });
    expect(scan([])).toMatchObject({ code: '', contentLength: -1, hasBody: false });
  });

  it.each(['', ' ', '-1', '+1', '1 0', '1,1', '0x1', '1e3', '9007199254740992', '99999999999999999999', '٣'])(
    'refuses the length %j',
    (value) => {
      expect(scan(['Content-Length', value]).code).toBe('SPW_BAD_REQUEST');
    },
  );

  it('refuses two lengths, equal ones too, and a length beside a coding', () => {
    expect(scan(['Content-Length', '1', 'content-length', '1']).code).toBe('SPW_BAD_REQUEST');
    expect(scan(['Content-Length', '1', 'Transfer-Encoding', 'chunked']).code).toBe('SPW_BAD_REQUEST');
  });

  it('takes one chunked in any spelling', () => {
    expect(scan(['Transfer-Encoding', ' Chunked\t'])).toMatchObject({
      code: '',
      chunked: true,
      hasBody: true,
    });
  });

  it.each(['gzip, chunked', 'xchunked', 'identity', 'chunked;q=1', '"chunked"', '', '\u000bchunked'])(
    'does not implement the coding %j',
    (value) => {
      expect(scan(['Transfer-Encoding', value]).code).toBe('SPW_NOT_IMPLEMENTED');
    },
  );

  it('refuses a coding given twice, and any in 1.0', () => {
    expect(scan(['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']).code).toBe(
      'SPW_NOT_IMPLEMENTED',
    );
    expect(scan(['Transfer-Encoding', 'chunked'], 'POST', 0).code).toBe('SPW_BAD_REQUEST');
  });

  it('refuses a body on GET and HEAD unless asked, not on DELETE and OPTIONS', () => {
    for (const method of ['GET', 'HEAD']) {
      expect(scan(['Content-Length', '1'], method).code).toBe('SPW_BAD_REQUEST');
      expect(scan(['Transfer-Encoding', 'chunked'], method).code).toBe('SPW_BAD_REQUEST');
      expect(scan(['Content-Length', '0'], method).code).toBe('');
    }
    for (const method of ['DELETE', 'OPTIONS', 'QUERY'])
      expect(scan(['Content-Length', '1'], method).code).toBe('');
    const rules = { ...DEFAULT_HEAD_RULES, passUnusualBody: true };
    const asked = scanRequest(['Host', 'a', 'Content-Length', '1'], 'GET', 1, 1, rules);
    expect(asked).toMatchObject({ code: '', unusualBody: true, hasBody: true });
  });
});

describe('fields that may come once', () => {
  it.each(['Authorization', 'Content-Type', 'Expect'])('%s twice is refused', (name) => {
    const fields = [name, '100-continue', name.toLowerCase(), '100-continue', 'Content-Length', '1'];
    expect(scan(fields).code).toBe('SPW_BAD_REQUEST');
  });

  it('counts fields, since the parser drops what is too many in silence', () => {
    const hundred = Array.from({ length: 99 }, (_, index) => [`x-${index}`, '']).flat();
    expect(scan(hundred).code).toBe('');
    expect(scan([...hundred, 'x', '']).code).toBe('SPW_HEADERS_TOO_LARGE');
  });
});

describe('Expect', () => {
  it('is 100-continue or 417', () => {
    expect(scan(['Expect', '100-Continue', 'Content-Length', '1'])).toMatchObject({
      code: '',
      expectContinue: true,
    });
    for (const value of ['foo', 'y 100-continue', '100-continue, 100-continue', '']) {
      expect(scan(['Expect', value, 'Content-Length', '1']).code).toBe('SPW_EXPECTATION_FAILED');
    }
  });

  it('means nothing without a body or in 1.0', () => {
    expect(scan(['Expect', '100-continue'])).toMatchObject({ code: '', expectContinue: false });
    expect(scan(['Expect', '100-continue', 'Content-Length', '1'], 'POST', 0).expectContinue).toBe(false);
  });
});

describe('Connection', () => {
  it('nominates fields over several lines and odd blanks', () => {
    const facts = scan(['Connection', 'keep-alive\t,\tX-A', 'connection', 'x-b,', 'X-A', '1', 'X-C', '2']);
    expect(facts).toMatchObject({ code: '', nominated: ['x-a', 'x-b'] });
  });

  it.each([
    'Host',
    'Authorization',
    'Cookie',
    'Content-Length',
    'Content-Type',
    'Transfer-Encoding',
    'Via',
    'X-Request-Id',
    'X-Request-Deadline-Ms',
    'X-Spillway-Client',
    'Traceparent',
  ])('may not nominate %s', (name) => {
    expect(scan(['Connection', `close, ${name}`]).code).toBe('SPW_BAD_REQUEST');
  });

  it('may nominate what we replace, and then its value is worth nothing', () => {
    const facts = scan([
      'X-Forwarded-For',
      '9.9.9.9',
      'Forwarded',
      'for=9.9.9.9',
      'Connection',
      'X-Forwarded-For, forwarded',
    ]);
    expect(facts).toMatchObject({ code: '', xForwardedFor: '', forwarded: '' });
  });

  it('may not name more fields than anybody needs', () => {
    expect(scan(['Connection', Array.from({ length: 33 }, (_, n) => `x${n}`).join(',')]).code).toBe(
      'SPW_BAD_REQUEST',
    );
  });
});

describe('Upgrade', () => {
  const handshake = ['Connection', 'keep-alive, Upgrade', 'Upgrade', 'WebSocket'];

  it('is granted to a WebSocket handshake only', () => {
    expect(scan(handshake, 'GET')).toMatchObject({ code: '', websocket: true, upgradeIgnored: false });
    expect(scan(handshake, 'POST')).toMatchObject({ code: '', websocket: false, upgradeIgnored: true });
    expect(scan(handshake, 'GET', 0).websocket).toBe(false);
    expect(scan(['Upgrade', 'websocket'], 'GET')).toMatchObject({ websocket: false, upgradeIgnored: false });
    const h2c = ['Connection', 'Upgrade, HTTP2-Settings', 'Upgrade', 'h2c', 'HTTP2-Settings', 'AAMA'];
    expect(scan(h2c, 'GET')).toMatchObject({ code: '', websocket: false, upgradeIgnored: true });
    expect(scan(['Connection', 'upgrade', 'Upgrade', 'websocket, h2c'], 'GET').websocket).toBe(false);
  });

  it('agrees with what the parser is told', () => {
    expect(isWebsocketUpgrade('GET', 1, 'WebSocket')).toBe(true);
    expect(isWebsocketUpgrade('GET', 1, 'h2c')).toBe(false);
    expect(isWebsocketUpgrade('GET', 1, undefined)).toBe(false);
  });
});

describe('loops', () => {
  it('are seen by our name or any name thrice', () => {
    expect(scan(['Via', '1.1 GW (x)']).code).toBe('SPW_LOOP');
    expect(scan(['Via', '1.1 a, 1.0 a', 'via', 'HTTP/1.1 a']).code).toBe('SPW_LOOP');
    expect(scan(['Via', '1.1 a, 1.1 a, 1.1 b, 1.1 gw2']).code).toBe('');
    expect(scan(['Via', Array.from({ length: 65 }, (_, n) => `1.1 h${n}`).join(', ')]).code).toBe('SPW_LOOP');
  });
});

describe('what the rest of the gateway asks for', () => {
  it('is picked in the same pass', () => {
    const facts = scan([
      'Cookie',
      'a=1',
      'cookie',
      'b=2',
      'ACCEPT',
      'text/html',
      'Content-Type',
      'application/grpc+proto',
      'X-Priority',
      'sheddable',
      'X-Request-Id',
      'abcdefgh',
      'X-Request-Deadline-Ms',
      '50',
      'Forwarded',
      'for=1',
      'Forwarded',
      'for=2',
      'x-forwarded-for',
      '1',
      'X-Forwarded-For',
      '2',
      'Max-Forwards',
      '3',
      'TE',
      'trailers, deflate',
      'Sec-Fetch-Mode',
      'cors',
      'X-Key',
      'k',
      'x-key',
      'l',
    ]);
    expect(facts).toMatchObject({
      code: '',
      cookie: 'a=1; b=2',
      accept: 'text/html',
      grpc: true,
      navigation: false,
      xPriority: 'sheddable',
      xRequestId: 'abcdefgh',
      requestDeadline: '50',
      forwarded: 'for=1, for=2',
      xForwardedFor: '1, 2',
      maxForwards: 3,
      trailers: true,
    });
    expect(facts.lookup('x-key')).toBe('k');
    expect(facts.lookup('x-none')).toBeUndefined();
    expect(facts.isRepeated('x-key')).toBe(true);
    expect(facts.isRepeated('x-priority')).toBe(false);
  });

  it('takes a browser for one where it sends no Sec-Fetch-Mode', () => {
    expect(scan(['Accept', 'text/html,*/*;q=0.8'], 'GET').navigation).toBe(true);
    expect(scan(['Accept', 'text/html', 'Sec-Fetch-Mode', 'navigate'], 'GET').navigation).toBe(true);
    expect(scan(['Accept', '*/*'], 'GET').navigation).toBe(false);
  });

  it('counts imitations of protected names', () => {
    expect(scan(['X_Forwarded_For', '1', 'content_length', '1', 'x_custom', '1']).forgedFields).toBe(2);
  });

  it('takes any sign that some server reads as `_` for an imitation', () => {
    // PHP folds dots, lighttpd everything that is neither letter nor digit.
    for (const sign of "!#$%&'*+.^_`|~") {
      for (const name of ['X-Forwarded-For', 'x-real-ip', 'X-Spillway-Tier', 'X-Request-Deadline-Ms']) {
        const twin = name.replaceAll('-', sign);
        expect([twin, scan([twin, '1']).forgedFields]).toEqual([twin, 1]);
        const mixed = name.replace(/-(?=[^-]*$)/, () => sign);
        expect([mixed, scan([mixed, '1']).forgedFields]).toEqual([mixed, 1]);
      }
      const harmless = [
        'x.custom',
        'x-custom',
        `x${sign}forwarded`,
        `forwarded${sign}`,
        `y${sign}real${sign}ip`,
      ];
      for (const name of harmless) expect([name, scan([name, '1']).forgedFields]).toEqual([name, 0]);
    }
    const long = `x.forwarded.${'a'.repeat(10_000)}`;
    expect(scan([long, '1', 'a'.repeat(10_000), '1', `${'a'.repeat(10_000)}.b`, '1']).forgedFields).toBe(1);
  });

  it('tells the first fault even when there are several', () => {
    expect(scanRequest(['Content-Length', 'x', 'Expect', 'y'], 'POST', 1, 1)).toMatchObject({
      code: 'SPW_BAD_REQUEST',
      reason: 'no Host',
    });
  });
});
