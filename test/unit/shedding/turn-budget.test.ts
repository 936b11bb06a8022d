import { describe, expect, test } from 'vitest';
import { TurnBudget } from '../../../src/shedding/turn-budget.ts';

const THRESHOLD = 25;

function refuses(budget: TurnBudget, lateMs: number): boolean {
  return budget.isSpent(lateMs, false);
}

describe('the turn of a loop', () => {
  test('one long turn cuts nobody, neither itself nor the shorter ones behind it', () => {
    const budget = new TurnBudget();
    for (const lagMs of [0, 0, 1]) budget.turned(lagMs, THRESHOLD);
    expect(refuses(budget, 100)).toBe(false);
    expect(budget.turned(100, THRESHOLD)).toBe(0);
    for (const lagMs of [66, 42, 26]) {
      expect(refuses(budget, lagMs)).toBe(false);
      expect(budget.turned(lagMs, THRESHOLD)).toBe(0);
    }
  });

  test('a turn that grows past the one before is cut there, and so is the next', () => {
    const budget = new TurnBudget();
    budget.turned(40, THRESHOLD);
    expect(refuses(budget, 40)).toBe(false);
    expect(refuses(budget, 41)).toBe(true);
    expect(refuses(budget, 60)).toBe(true);
    // Two of three were cut off.
    expect(budget.turned(60, THRESHOLD)).toBeCloseTo(Math.log(3), 9);
    expect(refuses(budget, 40)).toBe(false);
    expect(refuses(budget, 41)).toBe(true);
  });

  test('turns below the threshold are nobody business, whatever they grow', () => {
    const budget = new TurnBudget();
    budget.turned(3, THRESHOLD);
    expect(refuses(budget, 24)).toBe(false);
    budget.turned(16, THRESHOLD);
    expect(refuses(budget, 24)).toBe(false);
    expect(refuses(budget, 26)).toBe(true);
  });

  test('critical requests are taken in however long the turn is', () => {
    const budget = new TurnBudget();
    budget.turned(40, THRESHOLD);
    expect(budget.isSpent(500, true)).toBe(false);
    expect(budget.turned(500, THRESHOLD)).toBe(0);
  });
});
