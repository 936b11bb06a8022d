/** Writes what is generated from the schema: `config/schema.json` and `config/README.md`. Run by `npm run generate`. */
import { writeFileSync } from 'node:fs';
import { renderJsonSchema } from './json-schema.ts';
import { renderReference } from './reference.ts';

writeFileSync(new URL('schema.json', import.meta.url), renderJsonSchema());
writeFileSync(new URL('README.md', import.meta.url), renderReference());
