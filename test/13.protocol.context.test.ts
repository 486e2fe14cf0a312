/** The context of a request: how it stands in a frame, and what no caller can make of a comment.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Runs:   beside others. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { requestContext } from '../engine/client/request_context.ts'
import { HearthError } from '../engine/errors.ts'
import { decodeError, encodeError } from '../engine/protocol/error_frame.ts'
import { commentOf, contextFields, contextText, idOf } from '../engine/trace_context.ts'
import { runs, SEED } from './helpers/random.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'
const SAMPLED = `00-${TRACE}-${SPAN}-01`
const UNSAMPLED = `00-${TRACE}-${SPAN}-00`
const OPENTELEMETRY = Symbol.for('opentelemetry.js.api.1')
const fresh = () => 'fresh'

test("an id of our own has no comment; a caller's id and a sampled trace have one", () => {
  assert.equal(commentOf(contextText({}, fresh)), '')
  assert.equal(commentOf(contextText({ traceparent: UNSAMPLED }, fresh)), '')
  const own = contextText({ correlationId: 'order/7' }, fresh)
  assert.equal(commentOf(own), ` /*correlation_id='order%2F7'*/`)
  const traced = contextText({ traceparent: SAMPLED, tracestate: 'a=1, b=2' }, fresh)
  assert.equal(
    commentOf(traced),
    ` /*correlation_id='fresh',traceparent='${SAMPLED}',tracestate='a%3D1%2Cb%3D2'*/`,
  )
  assert.deepEqual(contextFields(traced), { correlationId: 'fresh', traceparent: SAMPLED })
  assert.deepEqual(contextFields(own), { correlationId: 'order/7' })
  assert.deepEqual([own, traced, 'id'].map(idOf), ['order/7', 'fresh', 'id'])
})

test(`a comment is one comment, whatever a client sends (SEED=${SEED})`, () => {
  const piece = fc.oneof(fc.string(), fc.constantFrom('*/', '/*', "'", ';', '--', ' ', SAMPLED))
  const text = fc.array(piece).map(pieces => pieces.join(''))
  const check = fc.property(text, fc.boolean(), (sent, isTraced) => {
    const comment = commentOf(isTraced ? `${sent.replaceAll(' ', '')} ${SAMPLED} ${sent}` : sent)
    if (comment === '') return
    assert.match(comment, /^ \/\*[a-z_]+='[\w.~%-]*'(,[a-z_]+='[\w.~%-]*')*\*\/$/)
  })
  fc.assert(check, runs(1_000, 50_000))
})

test('half a character is no reason to fail', () => {
  assert.match(commentOf(`\ud800 ${SAMPLED}`), /correlation_id='%EF%BF%BD'/)
})

test('a trace that is none is left out, an id that is none is refused', () => {
  for (const traceparent of ['', '00-1-2-01', SAMPLED.toUpperCase(), `${SAMPLED} x`])
    assert.equal(contextText({ traceparent, tracestate: 'a=1' }, fresh), 'fresh')
  for (const tracestate of ['', 'x'.repeat(600), 'a=é', 'a b'])
    assert.equal(contextText({ traceparent: SAMPLED, tracestate }, fresh), `fresh ${SAMPLED}`)
  for (const correlationId of ['', 'a b', 'é', 'x'.repeat(129), 'a\n'])
    assert.throws(() => contextText({ correlationId }, fresh), TypeError)
})

test('an error carries the id alone', () => {
  const body = encodeError(new HearthError('TIMEOUT', 'late', { correlationId: `id ${SAMPLED}` }))
  assert.equal(decodeError(body, 0, body.length).correlationId, 'id')
})

test("OpenTelemetry's active span is taken where there is one, and a given context goes before it", t => {
  const holder = globalThis as Record<symbol, unknown>
  t.after(() => delete holder[OPENTELEMETRY])
  let span: object | undefined
  holder[OPENTELEMETRY] = {
    context: {
      active: () => ({
        getValue: (key: symbol) =>
          key === Symbol.for('OpenTelemetry Context Key SPAN') ? span : undefined,
      }),
    },
  }
  assert.ok(!requestContext(undefined).includes(' '))
  const spanContext = { traceId: TRACE, spanId: SPAN, traceFlags: 1 }
  span = { spanContext: () => ({ ...spanContext, traceState: { serialize: () => 'a=1' } }) }
  assert.match(requestContext(undefined), new RegExp(`^\\S+ ${SAMPLED} a=1$`))
  assert.equal(requestContext({ correlationId: 'mine' }), `mine ${SAMPLED} a=1`)
  assert.match(requestContext({ traceparent: UNSAMPLED }), new RegExp(` ${UNSAMPLED}$`))
  span = { spanContext: () => ({ ...spanContext, traceId: '0'.repeat(32) }) }
  assert.ok(!requestContext(undefined).includes(' '))
  span = {
    spanContext: () => {
      throw new Error('broken')
    },
  }
  assert.ok(!requestContext(undefined).includes(' '))
})
