/** prometheus: a real Prometheus that scrapes one place each second, where the host has one.
 *  Owns:   the process and its folder, both gone when the test is over.   Thread: main of a test process.
 *  Holds:  nothing is asked of a Prometheus that has not scraped its target. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ending } from './engine.ts'
import { freePort } from './free_port.ts'

/** Why it cannot be tested here; false: it can. */
export const NO_PROMETHEUS: string | false =
  isThere('promtool') && isThere('prometheus')
    ? false
    : 'needs prometheus and promtool (Debian: apt-get install prometheus)'

export interface Sample {
  readonly metric: Record<string, string>
  readonly value: [number, string]
}

export class Prometheus {
  readonly url: string
  private readonly child: ChildProcess
  private output = ''

  constructor(url: string, child: ChildProcess) {
    this.url = url
    this.child = child
    child.stderr!.on('data', data => {
      this.output += data
    })
  }

  /** The answer to an instant query; throws what Prometheus says of an expression that it cannot evaluate. */
  async query(expr: string): Promise<Sample[]> {
    const body = new URLSearchParams({ query: expr })
    const response = await fetch(`${this.url}/api/v1/query`, { method: 'POST', body })
    const answer = (await response.json()) as {
      status: string
      error?: string
      data: { resultType: string; result: Sample[] }
    }
    if (answer.status !== 'success') throw new Error(`${expr}: ${answer.error}`)
    return answer.data.resultType === 'vector' ? answer.data.result : []
  }

  async rules(): Promise<{ name: string; health: string; lastError?: string }[]> {
    const response = await fetch(`${this.url}/api/v1/rules`)
    const { data } = (await response.json()) as {
      data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] }
    }
    return data.groups.flatMap(({ rules }) => rules)
  }

  /** Waits until an expression has a result. */
  async until(expr: string, withinMs = 15_000): Promise<void> {
    for (let leftMs = withinMs; leftMs > 0; leftMs -= 100) {
      const found = await this.query(expr).catch(() => [])
      if (found.length > 0) return
      if (this.child.exitCode !== null) break
      await sleep(100)
    }
    throw new Error(`${expr} had no result in time:\n${this.output}`)
  }
}

/** Starts one that scrapes `target` (host:port) as the job hearth, with these rules files. */
export async function startPrometheus(
  t: Ending,
  target: string,
  ruleFiles: readonly string[],
): Promise<Prometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-prometheus-'))
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: ruleFiles,
    scrape_configs: [{ job_name: 'hearth', static_configs: [{ targets: [target] }] }],
  }
  // JSON is YAML.
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config))
  const port = await freePort()
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  t.after(async () => {
    const ended = new Promise(resolve => child.once('close', resolve))
    if (child.exitCode === null) {
      child.kill('SIGKILL')
      await ended
    }
    rmSync(folder, { recursive: true, force: true })
  })
  return new Prometheus(`http://127.0.0.1:${port}`, child)
}

function isThere(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined
}
