/** `spillway schema`: the JSON Schema (2020-12) of the configuration, for editors and other tools. */
import { renderJsonSchema } from '../../config/json-schema.ts';
import type { Output } from './output.ts';

/** Prints exactly the text of `config/schema.json`; the exit code is 0. */
export function schema(output: Output): number {
  output.data(renderJsonSchema().trimEnd());
  return 0;
}
