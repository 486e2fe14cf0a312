/** chromium: a headless browser and its tabs, driven by the DevTools protocol over a pipe.
 *  Owns:   the process, its profile in a folder of its own.   Thread: main of a test process.
 *  Holds:  (1) what a page writes to its console, throws, or is refused by its policy is kept.  (2) it ends with its test.
 *          (3) where there is no Chromium, CHROMIUM is undefined and tests skip with words. */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ending } from './engine.ts'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
const FOLDERS = (process.env['PATH'] ?? '').split(':')

/** Where a browser is, if there is one; $HEARTH_TEST_CHROMIUM names another. */
export const CHROMIUM: string | undefined =
  process.env['HEARTH_TEST_CHROMIUM'] ??
  NAMES.flatMap(name => FOLDERS.map(folder => join(folder, name))).find(path => existsSync(path))

/** For `{ skip }`. */
export const WITHOUT_CHROMIUM =
  CHROMIUM === undefined &&
  'there is no Chromium here: install chromium, or set HEARTH_TEST_CHROMIUM'

const SWITCHES = [
  '--headless=new',
  '--remote-debugging-pipe',
  '--no-first-run',
  '--no-default-browser-check',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-extensions',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--hide-scrollbars',
  '--force-color-profile=srgb',
  // As root there is no sandbox; it opens pages of ours alone.
  '--no-sandbox',
]
const ANSWER_MS_MAX = 20_000

type Params = Record<string, unknown>

export class Chromium {
  private readonly child: ChildProcess
  private readonly waiting = new Map<
    number,
    { resolve: (result: Params) => void; reject: (error: Error) => void }
  >()
  /** By session. */
  private readonly listeners = new Map<string, (method: string, params: Params) => void>()
  private nextId = 1
  private partial = ''

  static start(t: Ending): Chromium {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-test-chromium-'))
    const browser = new Chromium(folder)
    t.after(async () => {
      const ended = new Promise(resolve => browser.child.once('exit', resolve))
      browser.child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    })
    return browser
  }

  private constructor(folder: string) {
    this.child = spawn(CHROMIUM!, [...SWITCHES, `--user-data-dir=${folder}`], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    })
    const output = this.child.stdio[4] as Readable
    output.setEncoding('utf8').on('data', (text: string) => this.take(text))
    this.child.once('exit', () => {
      for (const { reject } of this.waiting.values()) reject(new Error('Chromium has ended'))
    })
  }

  async open(url: string, settings: TabSettings = {}): Promise<Tab> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true })
    const session = sessionId as string
    const tab = new Tab((method, params) => this.send(method, params, session))
    this.listeners.set(session, (method, params) => tab.take(method, params))
    await tab.prepare(settings)
    await tab.send('Page.navigate', { url })
    return tab
  }

  async send(method: string, params: Params = {}, sessionId?: string): Promise<Params> {
    const id = this.nextId++
    if (this.child.exitCode !== null) throw new Error('Chromium has ended')
    const { promise, resolve, reject } = Promise.withResolvers<Params>()
    this.waiting.set(id, { resolve, reject })
    const input = this.child.stdio[3] as Writable
    input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    const late = setTimeout(() => reject(new Error(`${method} was not answered`)), ANSWER_MS_MAX)
    try {
      return await promise
    } finally {
      clearTimeout(late)
      this.waiting.delete(id)
    }
  }

  private take(text: string): void {
    const messages = (this.partial + text).split('\0')
    this.partial = messages.pop()!
    for (const message of messages) {
      const { id, method, params, result, error, sessionId } = JSON.parse(message)
      if (method !== undefined) this.listeners.get(sessionId)?.(method, params)
      else if (error === undefined) this.waiting.get(id)?.resolve(result)
      else this.waiting.get(id)?.reject(new Error(`${error.message} ${error.data ?? ''}`))
    }
  }
}

export interface TabSettings {
  readonly widthPx?: number
  readonly heightPx?: number
  readonly scheme?: 'light' | 'dark'
  readonly isPhone?: boolean
}

export class Tab {
  readonly send: (method: string, params?: Params) => Promise<Params>
  /** Errors and warnings, exceptions, and what the policy refused. */
  readonly complaints: string[] = []

  constructor(send: (method: string, params?: Params) => Promise<Params>) {
    this.send = send
  }

  async prepare({ widthPx = 1280, heightPx = 900, scheme = 'light', isPhone }: TabSettings) {
    for (const domain of ['Page', 'Runtime', 'Log', 'Accessibility'])
      await this.send(`${domain}.enable`)
    await this.send('Emulation.setDeviceMetricsOverride', {
      width: widthPx,
      height: heightPx,
      deviceScaleFactor: 1,
      mobile: isPhone ?? false,
    })
    await this.send('Emulation.setEmulatedMedia', {
      features: [
        { name: 'prefers-color-scheme', value: scheme },
        { name: 'prefers-reduced-motion', value: 'reduce' },
      ],
    })
  }

  /** What an expression in the page gives, as plain data. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as { result: { value: T }; exceptionDetails?: { exception?: { description?: string } } }
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? 'the expression threw')
    return result.value
  }

  /** Waits until an expression in the page is true. */
  async until(what: string, expression: string, timeoutMs = 15_000): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs
    while (!(await this.evaluate<boolean>(`Boolean(${expression})`).catch(() => false))) {
      if (performance.now() < deadlineMs) await sleep(50)
      else throw new Error(`not in time: ${what}\n${this.complaints.join('\n')}`)
    }
  }

  async press(key: string, code: number): Promise<void> {
    const event = { key, code: key, windowsVirtualKeyCode: code }
    await this.send('Input.dispatchKeyEvent', { type: 'rawKeyDown', ...event })
    if (key === 'Enter' || key === ' ')
      await this.send('Input.dispatchKeyEvent', { type: 'char', ...event, text: '\r' })
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...event })
  }

  /** A PNG of what is to be seen, or of the whole page. */
  async picture(clip?: { widthPx: number; heightPx: number }): Promise<Buffer> {
    const area = clip && { x: 0, y: 0, width: clip.widthPx, height: clip.heightPx, scale: 1 }
    const { data } = await this.send('Page.captureScreenshot', {
      format: 'png',
      ...(area === undefined ? {} : { clip: area, captureBeyondViewport: true }),
    })
    return Buffer.from(data as string, 'base64')
  }

  take: (method: string, params: Params) => void = (method, params) => {
    const complaint = COMPLAINTS[method]?.(params)
    if (complaint !== undefined) this.complaints.push(complaint)
  }
}

const COMPLAINTS: Readonly<Record<string, (params: Params) => string | undefined>> = {
  'Runtime.exceptionThrown': ({ exceptionDetails }) => `threw ${JSON.stringify(exceptionDetails)}`,
  'Runtime.consoleAPICalled': ({ type, args }) =>
    type === 'error' || type === 'warning' ? `console ${JSON.stringify(args)}` : undefined,
  'Log.entryAdded': ({ entry }) => {
    const { level, text, url } = entry as Record<string, string>
    return level === 'error' || level === 'warning' ? `${level} ${text} ${url ?? ''}` : undefined
  },
}
