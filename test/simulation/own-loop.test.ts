/**
 * The gateway's own event loop in the way: a closed loop of 200 connections on a fast service is refused nothing, pauses
 * shed nobody, and a loop that is offered more than it can turn over serves on, critical first. Bounds: suite.ts.
 */
import { assertGroups } from './assert-groups.ts';

assertGroups('closed loop', 'own loop');
