/**
 * A small reader of TypeScript source for the architecture tests: which modules a file names, and its code with the
 * contents of comments, strings, templates and regular expressions blanked out, so that a rule about code never trips over a word.
 *
 * Why not a parser: TypeScript 7 has no parser to import, and one dependency more for this test alone is not worth it.
 * Limits: a `/` behind `)` or an identifier is read as a division, which a regular expression there would defeat;
 * the planted violations show that what the rules need is found.
 */

export interface ImportedModule {
  readonly specifier: string;
  readonly kind: 'import' | 'reexport' | 'dynamic' | 'require';
  /** Erased before it runs: `import type`, `export type`. */
  readonly typeOnly: boolean;
  readonly line: number;
}

export interface ScannedSource {
  readonly lines: number;
  /** Same length and lines as the source. */
  readonly code: string;
  /** The code outside all brackets, everything else blanked; of the brackets the outermost remain. */
  readonly topLevel: string;
  readonly imports: readonly ImportedModule[];
}

const REGEX_BEFORE: ReadonlySet<string> = new Set('([{,;=:!&|?+-*%<>~^}'.split(''));
const REGEX_WORDS: ReadonlySet<string> = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'void',
  'delete',
  'throw',
  'do',
  'else',
  'await',
]);

class Masker {
  readonly #text: string;
  readonly #out: string[] = [];
  #at = 0;
  /** Open braces inside each template expression we are in. */
  readonly #templates: number[] = [];
  #previous = '';

  constructor(text: string) {
    this.#text = text;
  }

  run(): string {
    while (this.#at < this.#text.length) this.#token();
    return this.#out.join('');
  }

  #keep(count = 1): void {
    this.#out.push(this.#text.slice(this.#at, this.#at + count));
    this.#at += count;
  }

  /** Blanks up to `end`, line breaks kept. */
  #blankTo(end: number): void {
    this.#out.push(this.#text.slice(this.#at, end).replaceAll(/[^\n]/g, ' '));
    this.#at = end;
  }

  #token(): void {
    const char = this.#text[this.#at] ?? '';
    const two = this.#text.slice(this.#at, this.#at + 2);
    if (two === '//') this.#blankTo(this.#find('\n', this.#at));
    else if (two === '/*') this.#blankTo(Math.min(this.#text.length, this.#find('*/', this.#at + 2) + 2));
    else if (char === "'" || char === '"') this.#quoted(char);
    else if (char === '`') {
      this.#keep();
      this.#template();
    } else if (char === '/' && this.#regexMayStart()) this.#regex();
    else this.#plain(char);
  }

  #plain(char: string): void {
    const depth = this.#templates.length - 1;
    if (depth >= 0 && char === '{') this.#templates[depth] = (this.#templates[depth] ?? 0) + 1;
    if (depth >= 0 && char === '}') {
      const open = (this.#templates[depth] ?? 0) - 1;
      if (open < 0) {
        this.#templates.pop();
        this.#keep();
        this.#template();
        return;
      }
      this.#templates[depth] = open;
    }
    const word = /^[\w$]+/.exec(this.#text.slice(this.#at, this.#at + 64))?.[0];
    if (word !== undefined) {
      this.#previous = word;
      this.#keep(word.length);
      return;
    }
    if (!/\s/.test(char)) this.#previous = char;
    this.#keep();
  }

  #find(what: string, from: number): number {
    const found = this.#text.indexOf(what, from);
    return found < 0 ? this.#text.length : found;
  }

  #quoted(quote: string): void {
    let end = this.#at + 1;
    while (end < this.#text.length && this.#text[end] !== quote && this.#text[end] !== '\n') {
      end += this.#text[end] === '\\' ? 2 : 1;
    }
    this.#keep();
    this.#blankTo(end);
    this.#keep();
    this.#previous = quote;
  }

  /** Behind a backquote or the end of an expression: blanks up to the next of either. */
  #template(): void {
    let end = this.#at;
    while (end < this.#text.length && this.#text[end] !== '`' && this.#text.slice(end, end + 2) !== '${') {
      end += this.#text[end] === '\\' ? 2 : 1;
    }
    this.#blankTo(end);
    if (this.#text[end] === '`') {
      this.#keep();
      this.#previous = '`';
    } else if (end < this.#text.length) {
      this.#blankTo(end + 1);
      this.#keep();
      this.#templates.push(0);
      this.#previous = '{';
    }
  }

  #regexMayStart(): boolean {
    return this.#previous === '' || REGEX_BEFORE.has(this.#previous) || REGEX_WORDS.has(this.#previous);
  }

  #regex(): void {
    let end = this.#at + 1;
    let inClass = false;
    while (end < this.#text.length && this.#text[end] !== '\n') {
      const char = this.#text[end];
      if (char === '\\') end += 1;
      else if (char === '[') inClass = true;
      else if (char === ']') inClass = false;
      else if (char === '/' && !inClass) break;
      end += 1;
    }
    this.#keep();
    this.#blankTo(end);
    this.#keep();
    this.#previous = ')';
  }
}

function lineAt(text: string, at: number): number {
  return text.slice(0, at).split('\n').length;
}

/** `topLevel` of a masked source. */
function outside(code: string): string {
  let depth = 0;
  let out = '';
  for (const char of code) {
    if ('}])'.includes(char)) depth -= 1;
    out += depth <= 0 || char === '\n' ? char : ' ';
    if ('{[('.includes(char)) depth += 1;
  }
  return out;
}

const STATIC =
  /(?<![\w$.])(import|export)(\s+type(?=\s+[\w$*{]))?(?:\s*[\w$*{},\s]*?[\s}*]from)?\s*(?=['"])/g;
const CALLED = /(?<![\w$.])(import|require)\s*\(\s*/g;

function readImports(text: string, code: string): ImportedModule[] {
  const imports: ImportedModule[] = [];
  const literalAt = (at: number): string | undefined => {
    const quote = code[at];
    if (quote !== "'" && quote !== '"') return undefined;
    return text.slice(at + 1, code.indexOf(quote, at + 1));
  };
  for (const match of code.matchAll(STATIC)) {
    const specifier = literalAt(match.index + match[0].length);
    if (specifier === undefined) continue;
    const kind = match[1] === 'import' ? 'import' : 'reexport';
    imports.push({ specifier, kind, typeOnly: match[2] !== undefined, line: lineAt(code, match.index) });
  }
  for (const match of code.matchAll(CALLED)) {
    const kind = match[1] === 'import' ? 'dynamic' : 'require';
    const specifier = literalAt(match.index + match[0].length) ?? '';
    imports.push({ specifier, kind, typeOnly: false, line: lineAt(code, match.index) });
  }
  return imports;
}

/** Reads one source file. */
export function scanSource(text: string): ScannedSource {
  const code = new Masker(text).run();
  return {
    lines: text.endsWith('\n') ? text.split('\n').length - 1 : text.split('\n').length,
    code,
    topLevel: outside(code),
    imports: readImports(text, code),
  };
}

/** The line of a position in a scanned text. */
export function lineOf(source: ScannedSource, at: number): number {
  return lineAt(source.code, at);
}
