/** postgres_tools: Postgres as its operator has it: a directory with programs, servers that pg_ctl starts and stops, a shell.
 *  Owns:   the servers it started and their folder.   Thread: main of a test process.
 *  Holds:  (1) everything of a server is in its own files of settings, so that whoever starts it has the same server.  (2) the npm
 *          package has no pg_basebackup: there the test process stands in for it, with a base backup as Postgres asks for it. */

import { execFile } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { copyRunning, copyStopped, pointTo } from '../../engine/dev/data_copy.ts'
import { urlOf } from '../../engine/dev/embedded_postgres.ts'
import { findBinaries, serverUser } from '../../engine/dev/postgres_binaries.ts'
import { makePrivate } from '../../engine/dev/postgres_places.ts'
import { runAs } from '../../engine/dev/postgres_process.ts'
import { temporaryFolder } from './postgres_template.ts'
import { WireClient } from './postgres_wire.ts'

const PORT = 5432
const COMMAND_MS_MAX = 30_000
const WANTED = ['initdb', 'postgres', 'pg_ctl', 'pg_basebackup', 'pg_rewind', 'psql'] as const

const CONF = `
listen_addresses = ''
port = ${PORT}
shared_buffers = '8MB'
max_connections = 30
fsync = off
min_wal_size = '32MB'
max_wal_size = '64MB'
wal_retrieve_retry_interval = '200ms'
`

/** The programs of an installed Postgres, all of one version; undefined where there is none. */
export function installedTools(): string | undefined {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian) : []
  const folders = [
    ...(process.env['PATH'] ?? '').split(':'),
    ...versions.sort().map(version => join(debian, version, 'bin')),
  ]
  return folders.find(folder => WANTED.every(name => existsSync(join(folder, name))))
}

/** Those of the npm package. */
export function packagedTools(): string {
  return dirname(findBinaries(serverUser()).postgres)
}

export class ToolServer {
  readonly dataDir: string
  readonly socketDir: string
  readonly url: string
  private readonly tools: Tools
  private client: WireClient | undefined

  constructor(tools: Tools, dataDir: string) {
    this.tools = tools
    this.dataDir = dataDir
    this.socketDir = `${dataDir}.socket`
    this.url = urlOf(this.socketDir, PORT)
    makePrivate(this.socketDir, serverUser())
  }

  /** Over a connection of the tests' own, opened anew when it was lost. */
  async value(sql: string): Promise<string | null> {
    try {
      this.client ??= await WireClient.open(this.url)
      return await this.client.value(sql)
    } catch (error) {
      this.client = undefined
      throw error
    }
  }

  async start(): Promise<void> {
    await this.tools.run(`pg_ctl start -w -D '${this.dataDir}' -l '${this.dataDir}.log'`)
  }

  async stop(): Promise<void> {
    this.client = undefined
    if (existsSync(join(this.dataDir, 'postmaster.pid')))
      await this.tools.run(`pg_ctl stop -w -D '${this.dataDir}' -m fast`)
  }
}

export class Tools {
  readonly folder = temporaryFolder()
  private readonly bin: string
  private readonly servers: ToolServer[] = []
  private isOver = false

  constructor(bin: string) {
    this.bin = bin
    makePrivate(join(this.folder, 'servers'), serverUser())
    if (!existsSync(join(bin, 'pg_basebackup'))) this.standIn()
  }

  /** Runs a line of shell as the servers' user, with the programs on its PATH. Rejects with what it said. */
  run(line: string): Promise<string> {
    const { env, ...who } = runAs(serverUser())
    const path = [join(this.folder, 'bin'), this.bin, env['PATH']].join(':')
    const options = { ...who, cwd: '/', env: { ...env, PATH: path }, timeout: COMMAND_MS_MAX }
    return new Promise((resolve, reject) => {
      execFile('/bin/sh', ['-c', line], options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout)
        else reject(new Error(`${error.message}\n${stdout}\n${stderr}`))
      })
    })
  }

  async makePrimary(settings = ''): Promise<ToolServer> {
    const server = this.add('primary')
    await this.run(`initdb -D '${server.dataDir}' -U postgres -A trust -N --no-locale -E UTF8`)
    this.configure(server, settings)
    await server.start()
    return server
  }

  /** It is at work when this resolves. */
  async makeReplica(primary: ToolServer, name: string, settings = ''): Promise<ToolServer> {
    const server = this.add(name)
    await primary.stop()
    await copyStopped(primary.dataDir, server.dataDir, serverUser())
    await primary.start()
    this.configure(server, settings)
    pointTo(server.dataDir, { socketDir: primary.socketDir, port: PORT }, name, serverUser())
    await server.start()
    return server
  }

  async close(): Promise<void> {
    this.isOver = true
    await Promise.all(this.servers.map(server => server.stop().catch(() => undefined)))
    rmSync(this.folder, { recursive: true, force: true })
  }

  private add(name: string): ToolServer {
    const server = new ToolServer(this, join(this.folder, 'servers', name))
    this.servers.push(server)
    return server
  }

  private configure({ dataDir, socketDir }: ToolServer, settings: string): void {
    const own = `unix_socket_directories = '${socketDir}'\n${settings}\n`
    appendFileSync(join(dataDir, 'postgresql.conf'), `${CONF}${own}`)
  }

  /** A pg_basebackup that hands its arguments to this process, and waits for what becomes of them. */
  private standIn(): void {
    const bin = join(this.folder, 'bin')
    const asked = join(this.folder, 'servers', 'asked')
    mkdirSync(bin)
    writeFileSync(join(bin, 'pg_basebackup'), SCRIPT.replaceAll('ASKED', asked))
    for (const path of [bin, join(bin, 'pg_basebackup')]) chmodSync(path, 0o755)
    void this.serve(asked)
  }

  private async serve(asked: string): Promise<void> {
    while (!this.isOver) {
      await sleep(30)
      if (!existsSync(asked)) continue
      const args = readFileSync(asked, 'utf8').trimEnd().split('\n')
      const problem = await this.backUp(args).then(
        () => '',
        error => String(error),
      )
      rmSync(asked)
      writeFileSync(`${asked}.done`, problem, { mode: 0o666 })
    }
  }

  private async backUp(args: readonly string[]): Promise<void> {
    const option = (name: string) => args[args.indexOf(name) + 1]!
    const source = option('-d')
    const word = (name: string) => new RegExp(`${name}='?([^' ]+)`).exec(source)![1]!
    const endpoint = { socketDir: word('host'), port: Number(word('port')) }
    const client = await WireClient.open(urlOf(endpoint.socketDir, endpoint.port))
    const session = async (sql: string) => {
      const { fields, rows } = await client.query(sql)
      return rows.map(row => Object.fromEntries(row.map((value, i) => [fields[i], value])))
    }
    const target = option('-D')
    const from = await client.value('show data_directory')
    await copyRunning(session, from!, target, serverUser())
    pointTo(target, endpoint, word('application_name'), serverUser())
    await client.close()
  }
}

const SCRIPT = `#!/bin/sh
printf '%s\\n' "$@" > ASKED.tmp && mv ASKED.tmp ASKED
while [ ! -e ASKED.done ]; do sleep 0.05; done
problem=$(cat ASKED.done); rm -f ASKED.done
[ -z "$problem" ] || { echo "$problem" >&2; exit 1; }
`
