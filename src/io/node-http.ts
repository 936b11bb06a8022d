import type nodeHttp from 'node:http';
import process from 'node:process';

/**
 * `node:http`, taken without an import.
 *
 * An import of a builtin module reads every name that it exports, and one of these, a WebSocket client, loads a second
 * HTTP client when it is read: 30 to 45 ms of each process's start. Types are imported as ever.
 */
const http: typeof nodeHttp = process.getBuiltinModule('node:http');

export const { createServer, METHODS, request, STATUS_CODES } = http;

export const IncomingMessage = http.IncomingMessage;
export type IncomingMessage = nodeHttp.IncomingMessage;

export const ServerResponse = http.ServerResponse;
export type ServerResponse = nodeHttp.ServerResponse;
