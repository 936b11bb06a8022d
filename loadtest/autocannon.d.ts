/** The part of autocannon 9 that is used here; it brings no types. */
declare module 'autocannon' {
  namespace autocannon {
    interface Options {
      readonly url: string;
      readonly connections?: number;
      /** Seconds. */
      readonly duration?: number;
      readonly headers?: Readonly<Record<string, string>>;
      /** Sent one after the other instead of one and the same. */
      readonly requests?: readonly {
        readonly method: string;
        readonly path: string;
        readonly headers: Readonly<Record<string, string>>;
      }[];
      /** Requests a second over all connections. */
      readonly overallRate?: number;
      /** Latencies of answers other than 2xx are left out. */
      readonly excludeErrorStats?: boolean;
      /** Only with a rate: latencies of what was sent, not of what should have been. */
      readonly ignoreCoordinatedOmission?: boolean;
    }
    interface Result {
      /** Milliseconds. */
      readonly latency: { readonly p50: number; readonly p99: number; readonly max: number };
      readonly requests: { readonly total: number; readonly sent: number };
      readonly duration: number;
      readonly errors: number;
      readonly timeouts: number;
      readonly '2xx': number;
      readonly non2xx: number;
      readonly statusCodeStats?: Readonly<Record<string, { readonly count: number }>>;
    }
  }
  function autocannon(options: autocannon.Options): Promise<autocannon.Result>;
  export = autocannon;
}
