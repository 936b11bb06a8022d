/**
 * Which of the 16,384 slots of a Redis Cluster a key lies in: CRC-16 (XMODEM) of what stands between its first braces, or of
 * the whole key when nothing does (Redis Cluster specification, *Hash tags*). Our keys are ASCII, so a character is a byte.
 */

export const SLOTS = 16_384;

export function keySlot(key: string): number {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  return close > open + 1 ? crc16(key, open + 1, close) % SLOTS : crc16(key, 0, key.length) % SLOTS;
}

function crc16(text: string, from: number, to: number): number {
  let crc = 0;
  for (let i = from; i < to; i++) {
    crc ^= text.charCodeAt(i) << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
    crc &= 0xffff;
  }
  return crc;
}
