/**
 * `grpc-timeout`: how long a gRPC caller waits, from the request on.
 *
 * At most eight digits and one unit (gRPC PROTOCOL-HTTP2, "Timeout"). Unlike `x-request-deadline-ms` it is believed of
 * everybody, since it can only shorten: a caller that gives up sooner resets its stream, and then nobody waits anyway. What
 * is not of this form is read as none; the instance, which gets it as it came, may refuse it.
 */

const MOST_DIGITS = 8;

/** Milliseconds a unit; the digits come before it. */
function unitMs(code: number): number {
  switch (code) {
    case 72: // H
      return 3_600_000;
    case 77: // M
      return 60_000;
    case 83: // S
      return 1000;
    case 109: // m
      return 1;
    case 117: // u
      return 0.001;
    case 110: // n
      return 0.000_001;
    default:
      return -1;
  }
}

/** @returns milliseconds, not rounded; -1 when the value is none. */
export function grpcTimeoutMs(value: string): number {
  const digits = value.length - 1;
  if (digits < 1 || digits > MOST_DIGITS) return -1;
  const unit = unitMs(value.charCodeAt(digits));
  if (unit < 0) return -1;
  let amount = 0;
  for (let index = 0; index < digits; index++) {
    const digit = value.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return -1;
    amount = amount * 10 + digit;
  }
  return amount * unit;
}
