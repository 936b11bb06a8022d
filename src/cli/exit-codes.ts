/** What a command's end says to scripts. Part of the contract: numbers never change their meaning. */
export const EXIT = {
  ok: 0,
  /** Failed at run time. */
  failed: 1,
  /** The command line was wrong. */
  usage: 2,
  configurationInvalid: 3,
  /** Warnings under `--strict`. */
  warnings: 4,
  /** No running gateway reached. */
  noGateway: 5,
  /** A threshold was missed (`loadtest`, `simulate`). */
  thresholdMissed: 6,
} as const;
