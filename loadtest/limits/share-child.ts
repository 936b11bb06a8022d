/** A process that keeps a gateway's share of its limits, as the supervisor does for its workers. Ends with its parent. */
import process from 'node:process';

import { EmbeddedStore, SUPERVISOR_BUCKETS } from '../../src/limits/embedded-store.ts';
import { serveLimitBatch, type LimitBatchMessage } from '../../src/io/limit-store/ipc.ts';

const store = new EmbeddedStore(SUPERVISOR_BUCKETS, Math.random);
process.on('message', (message: LimitBatchMessage) => {
  process.send?.(serveLimitBatch(store, message, performance.now()));
});
process.on('disconnect', () => process.exit(0));
