/** What a reload tells its operator: each section that differs, by name where it has names, and nothing that does not. */
import { describe, expect, test } from 'vitest';
import { configurationSchema } from '../../../config/schema.ts';
import type { Configuration } from '../../../config/schema.ts';
import { describeChanges, restartOnly } from '../../../src/io/reload.ts';

interface Written {
  listeners: object[];
  services: Record<string, { instances: string[]; sla?: string }>;
  routes: object[];
  [section: string]: unknown;
}

function written(): Written {
  return {
    listeners: [{ port: 8080 }],
    services: { shop: { instances: ['http://127.0.0.1:1'] }, stock: { instances: ['http://127.0.0.1:2'] } },
    routes: [{ path: '/', service: 'shop' }],
  };
}

function configuration(change: (text: Written) => void = () => undefined): Configuration {
  const text = written();
  change(text);
  return configurationSchema.parse(text);
}

describe('a reload', () => {
  test('of the same configuration changes nothing', () => {
    expect(describeChanges(configuration(), configuration())).toEqual([]);
  });

  test('of one that only writes the defaults down changes nothing', () => {
    const explicit = configuration((text) => {
      text['limits'] = { mode: 'enforce' };
      text['shutdown'] = { delay: '5s' };
    });
    expect(describeChanges(configuration(), explicit)).toEqual([]);
  });

  test('tells services that came, went and changed by their names', () => {
    const after = configuration((text) => {
      text.services = {
        shop: { instances: ['http://127.0.0.1:1'], sla: '1s' },
        cart: { instances: ['http://127.0.0.1:3'] },
      };
    });
    expect(describeChanges(configuration(), after).toSorted()).toEqual([
      'services.cart added',
      'services.shop changed',
      'services.stock removed',
    ]);
  });

  test('tells tiers by their names too, the default one included', () => {
    const after = configuration((text) => {
      text['tiers'] = { gold: { rate: '10/s' }, default: { rate: '1/s' } };
    });
    expect(describeChanges(configuration(), after).toSorted()).toEqual([
      'tiers.default changed',
      'tiers.gold added',
    ]);
  });

  test.each([
    ['limits', { limits: { mode: 'observe' } }],
    ['routes', { routes: [{ path: '/other', service: 'shop' }] }],
    ['listeners', { listeners: [{ port: 8081 }] }],
    ['log', { log: { level: 'warn' } }],
  ])('tells that `%s` changed', (section, change) => {
    const after = configuration((text) => {
      Object.assign(text, change);
    });
    expect(describeChanges(configuration(), after)).toEqual([`${section} changed`]);
  });

  test('a default for every service is a change of every service that follows it', () => {
    const after = configuration((text) => {
      text['shedding'] = { mode: 'observe' };
    });
    expect(describeChanges(configuration(), after).toSorted()).toEqual([
      'services.shop changed',
      'services.stock changed',
      'shedding changed',
    ]);
  });
});

describe('what needs a restart', () => {
  test('is the admin address alone', () => {
    const moved = configuration((text) => {
      text['admin'] = { port: 9191 };
    });
    expect(restartOnly(configuration(), moved)).toEqual(['admin address: changes with a restart only']);
    const away = configuration((text) => {
      text['admin'] = { host: '127.0.0.2' };
    });
    expect(restartOnly(configuration(), away)).toHaveLength(1);
    const other = configuration((text) => {
      text.listeners = [{ port: 8081 }];
      text['workers'] = 3;
    });
    expect(restartOnly(configuration(), other)).toEqual([]);
  });
});
