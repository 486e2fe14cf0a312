/** A service manager under test's control: it plays systemd's part against the real daemon: holds the socket, hands it over as
 *  descriptor 3, hears what is notified, starts and ends the process.
 *  Owns:   one python3, which has the two kinds of socket that Node cannot make, and the daemon that it starts.
 *  Thread: main of a test process.
 *  Holds:  (1) the listening socket is never accepted from here, and never closed before the test ends.  (2) what is heard is
 *          kept in the order of its coming. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectOptions, connect, type Hearth } from '../../engine/client/index.ts'
import { cleanEnvironment, type Ending, ensureBuilt, HEARTH } from './engine.ts'

const python = ['/usr/bin/python3', 'python3'].find(
  name => spawnSync(name, ['-c', 'import socket'], { stdio: 'ignore' }).status === 0,
)

/** For node:test: why tests with a service manager are skipped here; false: they are not. */
export const noManager =
  python === undefined && 'python3 is not installed: nobody can play the service manager'

const ACTOR = `
import json, os, signal, socket, subprocess, sys, threading
listen_path, notify_path, mode = sys.argv[1], sys.argv[2], int(sys.argv[3], 8)
def say(**words): print(json.dumps(words), flush=True)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(listen_path)
os.chmod(listen_path, mode)
listener.listen(4096)
if listener.fileno() != 3: os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notices.bind(notify_path)
def hear():
    while True: say(heard=notices.recv(4096).decode())
threading.Thread(target=hear, daemon=True).start()
child = None
def bury(process): say(exited=process.wait())
say(waiting=True)
for line in sys.stdin:
    order = json.loads(line)
    if 'start' in order:
        child = subprocess.Popen(['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh'] + order['start'],
                                 env=order['env'], pass_fds=(3,), stdout=sys.stderr)
        threading.Thread(target=bury, args=(child,), daemon=True).start()
        say(started=child.pid)
    elif child and child.poll() is None:
        child.send_signal(getattr(signal, order['signal']))
if child and child.poll() is None: child.kill(); child.wait()
`

export class ServiceManagerActor {
  readonly folder = mkdtempSync(join(tmpdir(), 'hearth-manager-'))
  readonly socket = join(this.folder, 'run.sock')
  /** Each datagram as it came. */
  readonly heard: string[] = []
  pid = 0
  private readonly env: Readonly<Record<string, string>>
  private readonly actor: ChildProcess
  private readonly clients = new Set<Hearth>()
  private isWaiting = false
  private output = ''
  private exits: (number | null)[] = []

  constructor(env: Readonly<Record<string, string>>, mode: string) {
    const notify = join(this.folder, 'notify')
    this.env = {
      ...cleanEnvironment(),
      HEARTH_ENGINE_STATE_DIR: join(this.folder, 'state'),
      HEARTH_ENGINE_SOCKET: this.socket,
      NOTIFY_SOCKET: notify,
      LISTEN_FDS: '1',
      ...env,
    }
    this.actor = spawn(python!, ['-c', ACTOR, this.socket, notify, mode], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.actor.stderr!.on('data', data => {
      this.output += data
    })
    createInterface({ input: this.actor.stdout! }).on('line', line => {
      const { heard, started, exited, waiting } = JSON.parse(line)
      if (heard !== undefined) this.heard.push(heard)
      if (started !== undefined) this.pid = started
      if (exited !== undefined) this.exits.push(exited)
      if (waiting) this.isWaiting = true
    })
  }

  /** What the daemon wrote, over all its runs. */
  log(): string {
    return this.output
  }

  /** How often something with these words was notified. */
  count(words: string): number {
    return this.heard.filter(each => each.split('\n').includes(words)).length
  }

  /** Starts the daemon and waits for nothing; the environment may be changed for this run. */
  begin(env: Readonly<Record<string, string>> = {}): void {
    ensureBuilt()
    this.order({ start: [process.execPath, HEARTH, 'serve'], env: { ...this.env, ...env } })
  }

  /** Starts it and waits for READY=1. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<void> {
    const count = this.count('READY=1')
    this.begin(env)
    await this.until(() => this.count('READY=1') > count, 'READY=1')
  }

  signal(signal: NodeJS.Signals): void {
    this.order({ signal })
  }

  /** Ends it by a signal; resolves with its exit code, negative for a signal, once it is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const count = this.exits.length
    this.signal(signal)
    return await this.exit(count)
  }

  /** Waits for the end of the run that is number `count`, counted from 0. */
  async exit(count = this.exits.length): Promise<number | null> {
    await this.until(() => this.exits.length > count, 'the end', 20_000)
    return this.exits[count]!
  }

  async until(isSo: () => boolean, what: string, timeoutMs = 10_000): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs
    while (!isSo()) {
      if (performance.now() > deadlineMs)
        throw new Error(`no ${what}; heard ${JSON.stringify(this.heard)}\n${this.output}`)
      await sleep(5)
    }
  }

  async connect(options: ConnectOptions = {}): Promise<Hearth> {
    const client = await connect({ socket: this.socket, failOpen: false, ...options })
    this.clients.add(client)
    return client
  }

  /** Waits until the sockets are there. */
  async begun(): Promise<this> {
    await this.until(() => this.isWaiting, 'socket')
    return this
  }

  async remove(): Promise<void> {
    for (const client of this.clients) await client.close()
    this.actor.stdin!.end()
    await new Promise(resolve => this.actor.once('close', resolve))
    rmSync(this.folder, { recursive: true, force: true })
  }

  private order(words: unknown): void {
    this.actor.stdin!.write(`${JSON.stringify(words)}\n`)
  }
}

/** A manager for one test, with the daemon's environment and the socket's mode. */
export async function manager(
  t: Ending,
  env: Readonly<Record<string, string>> = {},
  mode = '0660',
): Promise<ServiceManagerActor> {
  const actor = new ServiceManagerActor(env, mode)
  t.after(() => actor.remove())
  return await actor.begun()
}
