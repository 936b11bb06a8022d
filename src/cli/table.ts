/** Columns for terminals. What comes from outside (a reason, a version) is shown without its control characters. */

const CONTROLS = /[\p{Cc}\u2028\u2029]/gu;

/** One line, safe for a terminal. */
export function plain(text: string): string {
  return text.replaceAll(CONTROLS, ' ');
}

/** The rows with their columns aligned, two blanks between; the first row is the head. Numbers stand right. */
export function table(rows: readonly (readonly (string | number)[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows)
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, shown(cell).length);
  const isNumeric = widths.map((_, at) => rows.slice(1).some((row) => typeof row[at] === 'number'));
  return rows.map((row) =>
    row
      .map((cell, at) =>
        isNumeric[at] === true ? shown(cell).padStart(widths[at] ?? 0) : shown(cell).padEnd(widths[at] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

function shown(cell: string | number): string {
  return plain(String(cell));
}
