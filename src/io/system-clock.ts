/** The clocks of the process: monotonic milliseconds for everything that is compared, the wall only for what is shown. */
export function systemNow(): number {
  return performance.now();
}

export function systemWallMs(): number {
  return Date.now();
}
