/** Units: the text of Hearth's systemd units, and of the file that makes its user.
 *  Owns:   every directive, and why it is there.   Not here: finding the facts (facts.ts), writing files (unit_files.ts).
 *  Thread: any.
 *  Holds:  (1) `systemd-analyze verify` of systemd 252 (Debian 12) and later has nothing to say, so no directive is newer.
 *          (2) `systemd-analyze security --offline=yes` stays at 1.5 or below.  (3) a path is quoted as systemd reads it.
 *
 *  Why Type=notify and not notify-reload: that needs 253. The engine says RELOADING=1 and READY=1 around a reload all the
 *  same, which systemd shows, and waits for if the first comes before kill has ended.
 *  Why a named user and not DynamicUser=: with RuntimeDirectoryPreserve=, which a socket needs that outlives the service, a
 *  dynamic user's runtime directory lies in /run/private, where no client gets to. */

/** What the units depend on. Paths are absolute. */
export interface UnitFacts {
  readonly version: string
  /** The runtime, and what it runs: the package's bin. */
  readonly node: string
  readonly bin: string
  /** For Documentation=. */
  readonly readme: string
  /** Left out: where the engine looks by itself. */
  readonly configFile?: string | undefined
  /** kill(1), where it is installed. */
  readonly kill: string | undefined
  readonly user: string
  readonly group: string
  readonly socket: string
  readonly socketMode: number
  readonly stateDir: string
  /** Tier 1, in bytes. */
  readonly memoryBytes: number
  /** sqlite.busy_timeout: so long a worker may wait for a lock on its file, and is well. */
  readonly busyTimeoutMs: number
  /** Folders below /home, /root or /run/user that the service must see. */
  readonly readInHome: readonly string[]
  readonly writeInHome: readonly string[]
}

export const RUNTIME_DIRECTORY = '/run/hearth'
export const STATE_DIRECTORY = '/var/lib/hearth'
/** Settings and secrets as HEARTH_… lines; need not exist. */
export const ENVIRONMENT_FILE = '/etc/hearth/hearth.env'

const WATCHDOG_SEC = 60

const MEBIBYTE = 1024 * 1024
/** The engine's own 20 MiB over a bare Node, Node's pages (some 60 MiB, shared and not), and what the kernel charges for the
 *  SQLite file and full sockets. Past `high` the kernel takes pages back and slows it down, past `max` it is killed. */
const MEMORY_HIGH_MIB = 160
const MEMORY_MAX_MIB = 256
/** What the figures above have in them for tier 1. */
const MEMORY_TIER_1_MIB = 4

export function serviceUnit(facts: UnitFacts): string {
  const extraMib = Math.max(0, Math.ceil(facts.memoryBytes / MEBIBYTE) - MEMORY_TIER_1_MIB)
  const config = facts.configFile === undefined ? [] : ['--config', facts.configFile]
  // Of the command's own path systemd replaces no $.
  const start = [word(facts.node), ...[facts.bin, 'serve', ...config].map(argument)].join(' ')
  return `[Unit]
Description=Hearth, the data engine of this host
Documentation=${fileUrl(facts.readme)}
Requires=hearth.socket
After=hearth.socket network.target postgresql.service
# A start that fails again and again is given up after half a minute.
StartLimitIntervalSec=60
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart=${start}
ExecReload=${reload(facts)}
EnvironmentFile=-${ENVIRONMENT_FILE}
User=${facts.user}
Group=${facts.group}

# The engine feeds the watchdog from its main loop, and only while its workers answer.
WatchdogSec=${watchdogSec(facts)}s
Restart=always
RestartSec=1s
TimeoutStartSec=90s
# SIGTERM: what is in flight is finished, some seconds at most.
TimeoutStopSec=20s
KillMode=mixed

# The socket lies here and outlives the service, and so must the folder.
RuntimeDirectory=hearth
RuntimeDirectoryMode=0750
RuntimeDirectoryPreserve=yes
StateDirectory=hearth
StateDirectoryMode=0700
UMask=0077

MemoryHigh=${MEMORY_HIGH_MIB + extraMib}M
MemoryMax=${MEMORY_MAX_MIB + extraMib}M
TasksMax=64
LimitNOFILE=16384
LimitCORE=0

# What it does not need, it cannot do. Not here, because it is needed: network and Unix sockets (Postgres, DNS), the users of
# its clients (PrivateUsers= would hide who connects), and memory that is written and then run (V8 compiles:
# MemoryDenyWriteExecute= would stop it).
ProtectSystem=strict
${homeLines(facts)}PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
Also=hearth.socket
`
}

export function socketUnit(facts: UnitFacts): string {
  return `[Unit]
Description=Hearth's socket, held while the engine restarts: who connects meanwhile waits
Documentation=${fileUrl(facts.readme)}

[Socket]
ListenStream=${specifierFree(facts.socket)}
SocketUser=${facts.user}
SocketGroup=${facts.group}
SocketMode=${octal(facts.socketMode)}
DirectoryMode=0755
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
`
}

/** For systemd-sysusers(8): the user the service runs as, and the group of those who may connect. */
export function usersFile({ user, group }: UnitFacts): string {
  const who = `u ${user} ${user === group ? '-' : `-:${group}`} "Hearth data engine"\n`
  return user === group ? who : `g ${group} -\n${who}`
}

/** Fed twice an interval, so it bites after half of one at the earliest. */
function watchdogSec({ busyTimeoutMs }: UnitFacts): number {
  return Math.max(WATCHDOG_SEC, Math.ceil((2 * busyTimeoutMs) / 1_000))
}

function reload({ kill, node }: UnitFacts): string {
  return kill === undefined
    ? `${word(node)} -e "process.kill(\${MAINPID}, 'SIGHUP')"`
    : `${kill} -HUP $MAINPID`
}

/** What is written besides the two directories that systemd makes, and what lies where ProtectHome= would hide it. */
function homeLines(facts: UnitFacts): string {
  const { readInHome, writeInHome } = facts
  const written = [facts.stateDir, facts.socket.slice(0, facts.socket.lastIndexOf('/'))]
    .filter(path => !isWithin(path, STATE_DIRECTORY) && !isWithin(path, RUNTIME_DIRECTORY))
    .filter(path => path !== '' && !writeInHome.includes(path))
  const lines = [...new Set(written)].map(path => `ReadWritePaths=${word(path)}`)
  const bound = [
    ...readInHome.map(path => `BindReadOnlyPaths=${bindWord(path)}`),
    ...writeInHome.map(path => `BindPaths=${bindWord(path)}`),
  ]
  const home = bound.length === 0 ? 'ProtectHome=yes' : 'ProtectHome=tmpfs'
  return `${[home, ...bound, ...lines].join('\n')}\n`
}

export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`)
}

/** An argument of ExecStart=: quoted where it must be, with nothing left that systemd would replace. */
function argument(text: string): string {
  return word(text).replaceAll('$', '$$$$')
}

function word(text: string): string {
  const free = specifierFree(text)
  return /^[\w@%+=:,./$-]+$/.test(free) ? free : `"${free.replace(/["\\]/g, '\\$&')}"`
}

/** A colon would separate source and target. */
function bindWord(text: string): string {
  return word(text).replaceAll(':', '\\:')
}

function specifierFree(text: string): string {
  return text.replaceAll('%', '%%')
}

function fileUrl(path: string): string {
  return specifierFree(`file:${encodeURI(path)}`)
}

function octal(mode: number): string {
  return `0${mode.toString(8).padStart(3, '0')}`
}
