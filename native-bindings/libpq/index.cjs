'use strict'
/** libpq: the class that pg-native sees. The interface is npm libpq's; the code under it is src/pq_*.c.
 *  Owns:   the JavaScript half of PQ: defaults of arguments, the two phases of an asynchronous connect, events.
 *  Thread: any; each thread has a class of its own.
 *  Holds:  (1) an unconnected PQ answers as libpq does for a NULL connection, and throws only where npm libpq does.
 *          (2) connect() calls back exactly once, never within connect() itself. */
const assert = require('node:assert')
const { AsyncResource } = require('node:async_hooks')
const { EventEmitter } = require('node:events')
const { findLibpq } = require('../libpq_search.cjs')
const { loadNative } = require('../load.cjs')
const { hostsToResolve, resolveHosts } = require('./resolve.cjs')

const info = findLibpq()
const NativePQ = loadNative().PQ

/** Events: 'readable' while startReader() is on, 'writable' once after each writable(). */
class PQ extends NativePQ {
  constructor() {
    if (typeof info === 'string') throw Object.assign(new Error(info), { code: 'NOT_CONFIGURED' })
    super()
  }

  /** Connects while the thread waits. Throws libpq's words. */
  connectSync(conninfo) {
    this.connected = true
    if (this.$connectSync(conninfo || '')) return
    const error = new Error(this.errorMessage())
    this.finish()
    throw error
  }

  /** Connects without blocking: names are looked up by node's resolver, then libpq is polled. `connect_timeout` bounds the
   *  whole, all hosts together (libpq itself would count it for each host, and ignores it in this mode). */
  connect(conninfo, callback) {
    if (typeof conninfo === 'function') return this.connect('', conninfo)
    assert(callback, 'Must provide a connection callback')
    this.$endAttempt(new Error('another connect() was called on this connection'))
    this.connected = true
    const attempt = { callback: AsyncResource.bind(callback), timer: undefined }
    this.$attempt = attempt
    const text = conninfo || ''
    const known = this.$conninfo(text)
    if (typeof known === 'string') {
      this.$settleSoon(attempt, new Error(known))
      return
    }
    const seconds = Number.parseInt(known.connectTimeout ?? '', 10)
    if (seconds > 0)
      attempt.timer = setTimeout(() => this.$expire(attempt, seconds), seconds * 1000)
    const hosts = hostsToResolve(known)
    if (hosts === undefined) this.$begin(attempt, text, {})
    else this.$resolve(attempt, text, hosts)
  }

  $resolve(attempt, text, hosts) {
    resolveHosts(hosts, (error, lists) => {
      if (this.$attempt !== attempt) return
      if (error) this.$settle(attempt, error)
      else this.$begin(attempt, text, lists)
    })
  }

  $begin(attempt, text, { host, hostaddr, port }) {
    if (!this.$connect(text, host, hostaddr, port))
      this.$settleSoon(attempt, new Error(this.errorMessage()))
  }

  /** Called by the binding when the attempt is over. */
  $onConnected(isOk) {
    const attempt = this.$attempt
    if (attempt !== undefined)
      this.$settle(attempt, isOk ? undefined : new Error(this.errorMessage()))
  }

  $expire(attempt, seconds) {
    const problem = `timeout expired: no connection within connect_timeout=${seconds} s\n`
    this.$abandon(problem)
    this.$settle(attempt, new Error(problem))
  }

  $settleSoon(attempt, error) {
    setImmediate(() => this.$settle(attempt, error))
  }

  $settle(attempt, error) {
    if (this.$attempt !== attempt) return
    this.$attempt = undefined
    clearTimeout(attempt.timer)
    if (error === undefined) attempt.callback(null)
    else attempt.callback(error)
  }

  /** An attempt that is given up gets its callback all the same. */
  $endAttempt(error) {
    const attempt = this.$attempt
    if (attempt === undefined) return
    this.$attempt = undefined
    clearTimeout(attempt.timer)
    setImmediate(attempt.callback, error)
  }

  /** Closes the connection; it can be connected again. */
  finish() {
    this.connected = false
    this.$endAttempt(new Error('the connection was finished while it was being made'))
    this.$finish()
  }

  /** Blocking statements: the result is read with ntuples(), getvalue(), resultStatus() and so on. */
  exec(text) {
    this.$exec(text || '')
  }

  /** null and undefined are NULL, a Buffer goes as binary, everything else as text. */
  execParams(text, parameters) {
    this.$execParams(text || '', parameterList(parameters))
  }

  prepare(...args) {
    assert.strictEqual(args.length, 3, 'Must supply 3 arguments')
    const [name, text, parameterCount] = args
    this.$prepare(name || '', text || '', Number(parameterCount) || 0)
  }

  execPrepared(name, parameters) {
    this.$execPrepared(name || '', parameterList(parameters))
  }

  describePrepared(name) {
    this.$describePrepared(name || '')
  }

  /** Sending without waiting: true when libpq took it, else errorMessage() says why. */
  sendQuery(text) {
    return this.$sendQuery(text || '')
  }

  sendQueryParams(text, parameters) {
    return this.$sendQueryParams(text || '', parameterList(parameters))
  }

  sendPrepare(...args) {
    assert.strictEqual(args.length, 3, 'Must supply 3 arguments')
    const [name, text, parameterCount] = args
    return this.$sendPrepare(name || '', text || '', Number(parameterCount) || 0)
  }

  sendQueryPrepared(name, parameters) {
    return this.$sendQueryPrepared(name || '', parameterList(parameters))
  }

  /** From now on 'readable' is emitted while there is input; consumeInput() takes it in. */
  startReader() {
    assert(this.connected, 'Must be connected to start reader')
    // Without a socket nothing would ever come: one event lets the reader meet the error in consumeInput().
    if (!this.$startRead()) setImmediate(() => this.emit('readable'))
  }

  /** Calls back once, when the socket takes more output. */
  writable(callback) {
    assert(this.connected, 'Must be connected to start writer')
    this.once('writable', callback)
    if (!this.$startWrite()) setImmediate(() => this.emit('writable'))
    return this
  }

  setNonBlocking(isOn) {
    return this.$setNonBlocking(Boolean(isOn))
  }

  /** Quoted and escaped; null when there is no connection, whose encoding decides. */
  escapeLiteral(text) {
    return text ? this.$escapeLiteral(text) : text
  }

  escapeIdentifier(text) {
    return text ? this.$escapeIdentifier(text) : text
  }

  /** 1: taken, 0: would block (wait for writable()), -1: an error. */
  putCopyData(buffer) {
    assert(Buffer.isBuffer(buffer), 'Must supply a Buffer')
    return this.$putCopyData(buffer)
  }

  /** With a message the COPY is ended as failed. */
  putCopyEnd(problem) {
    return problem ? this.$putCopyEnd(problem) : this.$putCopyEnd()
  }

  /** A Buffer, or 0: not yet (only with `isAsync`), -1: done, -2: an error. */
  getCopyData(isAsync) {
    return this.$getCopyData(Boolean(isAsync))
  }

  pipelineModeSupported() {
    return info.features.pipeline
  }

  enterPipelineMode() {
    return pipelineCall(this, '$enterPipelineMode')
  }

  exitPipelineMode() {
    return pipelineCall(this, '$exitPipelineMode')
  }

  /** PQ.PIPELINE_OFF, PIPELINE_ON or PIPELINE_ABORTED. */
  pipelineStatus() {
    return pipelineCall(this, '$pipelineStatus')
  }

  pipelineSync() {
    return pipelineCall(this, '$pipelineSync')
  }

  sendFlushRequest() {
    return pipelineCall(this, '$sendFlushRequest')
  }
}

function parameterList(parameters) {
  assert(!parameters || Array.isArray(parameters), 'Parameters must be an array')
  return parameters || []
}

function pipelineCall(pq, name) {
  if (typeof pq[name] === 'function') return pq[name]()
  throw new Error('Pipeline mode is not supported. It needs libpq of PostgreSQL 14 or later.')
}

Object.setPrototypeOf(NativePQ.prototype, EventEmitter.prototype)
PQ.PIPELINE_OFF = 0
PQ.PIPELINE_ON = 1
PQ.PIPELINE_ABORTED = 2

module.exports = PQ
