/**
 * Arithmetic on ISO times without a clock object: ages come from a monotonic clock, people read wall time, and only the
 * caller knows the wall. Gregorian days after Howard Hinnant, *chrono-compatible low-level date algorithms*.
 */

const DAY_MS = 86_400_000;

/**
 * The moment `ageMs` before `iso`, whole seconds, e.g. `2026-01-31T12:01:07Z`.
 * @param iso as `Date.prototype.toISOString` writes it
 */
export function isoBefore(iso: string, ageMs: number): string {
  const field = (from: number, to: number): number => Number(iso.slice(from, to));
  const days = daysFromCivil(field(0, 4), field(5, 7), field(8, 10));
  const secondMs = iso.indexOf('.') === 19 ? Number(iso.slice(17, 23)) * 1000 : field(17, 19) * 1000;
  const ms = days * DAY_MS + field(11, 13) * 3_600_000 + field(14, 16) * 60_000 + secondMs - ageMs;
  const day = Math.floor(ms / DAY_MS);
  const seconds = Math.floor((ms - day * DAY_MS) / 1000);
  const clock = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${civilFromDays(day)}T${clock.map(twoDigits).join(':')}Z`;
}

function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

function civilFromDays(days: number): string {
  const z = days + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1;
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${String(year).padStart(4, '0')}-${twoDigits(month)}-${twoDigits(day)}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
