import { describe, expect, it } from 'vitest';
import { SpareMemory } from '../../../src/io/read-memory.ts';

describe('memory that large answers are read into', () => {
  it('is used again once all that was read into it has left', () => {
    const spares = new SpareMemory();
    const memory = spares.take();
    const [first, second] = [memory.hold(), memory.hold()];
    memory.leave();
    first();
    expect(spares.take()).not.toBe(memory);
    second();
    expect(spares.take()).toBe(memory);
  });

  it('is read into by nobody else while its connection still does, held or not', () => {
    const spares = new SpareMemory();
    const memory = spares.take();
    memory.hold()();
    expect(memory.held).toBe(false);
    expect(spares.take()).not.toBe(memory);
    memory.leave();
    expect(spares.take()).toBe(memory);
  });

  it('is never given back by a piece that nobody writes on', () => {
    const spares = new SpareMemory();
    const memory = spares.take();
    memory.hold();
    memory.leave();
    expect(memory.held).toBe(true);
    expect(spares.take()).not.toBe(memory);
  });

  it('is not hoarded: a few are kept', () => {
    const spares = new SpareMemory();
    const taken = Array.from({ length: 10 }, () => spares.take());
    for (const memory of taken) memory.leave();
    const again = new Set(Array.from({ length: 10 }, () => spares.take()));
    expect(taken.filter((memory) => again.has(memory))).toHaveLength(4);
  });
});
