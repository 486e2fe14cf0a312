/** A strict reader of Prometheus' text format, for tests.
 *  Owns:   nothing.   Thread: main of a test process.
 *  Holds:  what the format's description forbids throws: samples without HELP and TYPE before them, a metric in two places, a label or
 *          a number that is none, buckets that do not add up. */

import assert from 'node:assert/strict'

export interface Family {
  readonly type: string
  readonly help: string
  /** By name and labels as they stand there: `hearth_x_total{a="b"}`. */
  readonly samples: Map<string, number>
}

export function readPrometheus(text: string): Map<string, Family> {
  assert.ok(text.endsWith('\n'), 'the last line ends, too')
  const families = new Map<string, Family>()
  let help: [string, string] | undefined
  let current: [string, Family] | undefined
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line)
    if (comment?.[1] === 'HELP') {
      help = [comment[2]!, comment[3]!]
      continue
    }
    if (comment !== null) {
      const [, , name, type] = comment
      assert.equal(help?.[0], name, `HELP comes before TYPE of ${name}`)
      assert.ok(!families.has(name!), `${name} is in one place`)
      assert.match(type!, /^(counter|gauge|histogram)$/)
      current = [name!, { type: type!, help: help![1], samples: new Map() }]
      families.set(...current)
      continue
    }
    const sample = /^([a-z_]+)(\{.*\})? (\S+)$/.exec(line)
    assert.ok(sample !== null, `a sample: ${line}`)
    const [, name, labels = '', value] = sample
    const [base, family] = current!
    const suffix = family.type === 'histogram' ? /^(_bucket|_sum|_count)$/ : /^$/
    assert.ok(name!.startsWith(base) && suffix.test(name!.slice(base.length)), `${name} of ${base}`)
    assert.match(labels, /^(\{([a-z_]+="([^"\\\n]|\\[\\n"])*"(,(?=[a-z]))?)+\})?$/, line)
    assert.match(value!, /^([-+]?\d+(\.\d+)?(e[-+]?\d+)?|[-+]Inf|NaN)$/, line)
    assert.ok(!family.samples.has(name! + labels), `${line} stands there once`)
    family.samples.set(name! + labels, Number(value!.replace('Inf', 'Infinity')))
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkBuckets(name, family)
  return families
}

/** Buckets grow with their bounds, the last is +Inf and has what _count says. */
function checkBuckets(name: string, { samples }: Family): void {
  const of = new Map<string, number[]>()
  for (const [key, value] of samples) {
    const bucket = /_bucket\{(.*?),?le="([^"]+)"\}$/.exec(key)
    if (bucket !== null) of.set(bucket[1]!, [...(of.get(bucket[1]!) ?? []), value])
  }
  assert.ok(of.size > 0, `${name} has buckets`)
  for (const [labels, counts] of of) {
    assert.deepEqual(
      counts,
      counts.toSorted((a, b) => a - b),
      `${name}{${labels}} adds up`,
    )
    const all = labels === '' ? '' : `{${labels}}`
    assert.equal(counts.at(-1), samples.get(`${name}_count${all}`))
    assert.ok(samples.has(`${name}_sum${all}`))
  }
}
