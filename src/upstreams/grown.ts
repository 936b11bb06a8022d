/** A larger array for figures by slot; what is known stays, the rest is 0. */
export function grown(old: Float64Array<ArrayBuffer>, size: number): Float64Array<ArrayBuffer> {
  const array = new Float64Array(size);
  array.set(old);
  return array;
}
