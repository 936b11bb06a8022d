import { localAnswer } from '../forwarding/local-methods.ts';
import type { Exchange } from './exchange.ts';

/**
 * Gives the answers that end here whatever the routes say.
 *
 * @returns true when the request was answered
 */
export function answerLocally(exchange: Exchange, asterisk: boolean): boolean {
  const { req, res, facts, requestId, worker } = exchange;
  const answer = localAnswer(req.method ?? 'GET', asterisk, facts.maxForwards);
  switch (answer.kind) {
    case 'forward':
      return false;
    case 'refuse':
      exchange.allow = answer.allow;
      exchange.closes = answer.closes;
      exchange.refuse(answer.code, 'method');
      return true;
    case 'options':
      exchange.status = answer.status;
      res.writeHead(answer.status, [
        'allow',
        answer.allow,
        'x-request-id',
        requestId,
        ...(worker.draining ? ['connection', 'close'] : []),
      ]);
      res.end();
      return true;
    default:
      return answer satisfies never;
  }
}
