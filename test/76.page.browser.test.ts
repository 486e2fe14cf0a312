/** The page in a real browser: it loads, draws, is reachable by keyboard, named for a screen reader, readable in light and dark, fits
 *  a phone, and outlives its engine.
 *  Owns:   one engine with a Postgres, one browser.   Thread: main of a test process.
 *  Runs:   beside others, since it mostly waits.
 *  Holds:  without a Chromium every test here skips and says so. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hearth } from '../engine/client/index.ts'
import { Chromium, type Tab, type TabSettings, WITHOUT_CHROMIUM } from './helpers/chromium.ts'
import { prepare } from './helpers/engine.ts'
import { freePort } from './helpers/free_port.ts'
import { sharedPostgres } from './helpers/postgres.ts'

const CONTRAST_MIN = 4.5
const PHONE: TabSettings = { widthPx: 360, heightPx: 740, isPhone: true }

describe('the page', { skip: WITHOUT_CHROMIUM }, () => {
  const engine = prepare({ after })
  let browser: Chromium
  let url = ''
  let client: Hearth
  let load: NodeJS.Timeout
  const endings: (() => Promise<void>)[] = []

  before(async () => {
    const listen = `127.0.0.1:${await freePort()}`
    url = `http://${listen}/`
    engine.env['HEARTH_HTTP_LISTEN'] = listen
    const postgres = await sharedPostgres()
    await engine.start({ HEARTH_POSTGRES_URL: postgres.url })
    client = await engine.connect()
    let at = 0
    load = setInterval(() => void work(client, at++).catch(() => undefined), 50)
    await client.db.query('select pg_sleep(0.3), $1::text', ['secret'])
    browser = Chromium.start({ after: end => void endings.push(end) })
  })
  after(async () => {
    clearInterval(load)
    for (const end of endings) await end()
  })

  async function open(settings: TabSettings = {}): Promise<Tab> {
    const tab = await browser.open(url, settings)
    await tab.until('its figures are there', `document.querySelector('#ops tbody tr')`)
    return tab
  }

  test('loads without a complaint and draws what the engine does', async () => {
    const tab = await open()
    for (const [chart, tone] of Object.entries({
      hits: 'first',
      requests: 'third',
      gets: 'second',
    }))
      await tab.until(`${chart} is drawn`, `(${INK})('${chart}', '--${tone}') > 5`)
    await tab.until(
      'the pool is listed',
      `document.querySelector('#pools tbody th')?.textContent === 'main'`,
    )
    await tab.until('the slow query is there', `document.querySelector('#slow tbody tr')`)
    const words = await tab.evaluate<string>('document.body.innerText')
    assert.match(words, /select pg_sleep\(\$\d\)/)
    assert.doesNotMatch(await (await fetch(`${url}insight/slow`)).text(), /secret|params/)
    for (const expected of [
      /All is well/,
      /of 5 parts well|of 4 parts well/,
      /target 80\.0 %/,
      /main\.reads/,
    ])
      assert.match(words, expected)
    assert.match(words, /No replica is configured\./)
    assert.match(words, /No service is registered\./)
    // What changes with a tick is text alone: hours of it add no element.
    const count = `document.querySelectorAll('*').length`
    const first = await tab.evaluate<number>(count)
    await sleep(2_500)
    assert.equal(await tab.evaluate<number>(count), first)
    assert.deepEqual(tab.complaints, [])
    // The policy is in force: what somebody might put into the page does not run.
    await tab.evaluate(
      `document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))`,
    )
    assert.equal(await tab.evaluate('window.ran'), undefined)
    assert.match(tab.complaints.join(), /Content Security Policy/)
  })

  test('every control is reached by keyboard, in order, and seen when it is', async () => {
    const tab = await open()
    const wanted = await tab.evaluate<string[]>(`(${CONTROLS})()`)
    assert.ok(wanted.length > 15, wanted.join())
    const found: string[] = []
    for (let i = 0; i < wanted.length; i++) {
      await tab.press('Tab', 9)
      const name = await tab.evaluate<string>(`(${NAME_OF})(document.activeElement)`)
      found.push(name)
      const outline = await tab.evaluate('getComputedStyle(document.activeElement).outline')
      assert.match(String(outline), /solid [1-9]/, name)
    }
    assert.deepEqual(found, wanted)
    await tab.evaluate(`document.querySelector('summary').focus()`)
    await tab.press('Enter', 13)
    await tab.until('the table is filled', `document.querySelector('details[open] tbody tr')`)
    await tab.evaluate(`document.getElementById('pause').focus()`)
    await tab.press('Enter', 13)
    await tab.until(
      'it pauses',
      `/^Paused at/.test(document.getElementById('announce').textContent)`,
    )
    await tab.press('Enter', 13)
    await tab.until('it goes on', `document.getElementById('state').dataset.state === 'ok'`)
  })

  test('every control, chart and table has a name, and headings go down by one', async () => {
    const tab = await open()
    await tab.until('samples are there', `(${INK})('hits', '--first') > 5`)
    const { nodes } = (await tab.send('Accessibility.getFullAXTree')) as { nodes: AxNode[] }
    const shown = nodes.filter(({ ignored }) => !ignored)
    const named = [
      'button',
      'link',
      'image',
      'meter',
      'region',
      'table',
      'figure',
      'DisclosureTriangle',
      'navigation',
      'columnheader',
      'rowheader',
      'heading',
    ]
    const roles = new Map<string, number>()
    for (const { role, name } of shown) {
      roles.set(role.value, (roles.get(role.value) ?? 0) + 1)
      if (named.includes(role.value) && role.value !== 'figure')
        assert.ok((name?.value ?? '').trim() !== '', `a ${role.value} without a name`)
    }
    for (const role of ['main', 'navigation', 'banner', 'contentinfo', 'status', 'meter', 'table'])
      assert.ok((roles.get(role) ?? 0) >= 1, role)
    const charts = shown.filter(
      ({ role, name }) => role.value === 'image' && /\d/.test(name?.value ?? ''),
    )
    assert.ok(charts.length >= 7, 'charts say their figures')
    assert.match(charts[0]!.name!.value, /^Hit rate by tier\. memory: [\d.]+ % now/)
    const levels = await tab.evaluate<number[]>(
      `[...document.querySelectorAll('h1, h2, h3')].map(({ tagName }) => Number(tagName[1]))`,
    )
    for (const [at, level] of levels.entries())
      assert.ok(level <= (levels[at - 1] ?? 0) + 1, `h${level} at ${at}`)
    const live = await tab.evaluate<number>(
      `document.querySelectorAll('[aria-live], [role=status], [role=alert]').length`,
    )
    assert.equal(live, 1, 'one place is read aloud')
  })

  for (const scheme of ['light', 'dark'] as const) {
    test(`in ${scheme} every text has a contrast of ${CONTRAST_MIN} : 1`, async () => {
      const tab = await open({ scheme })
      const ground = await tab.evaluate<string>('getComputedStyle(document.body).backgroundColor')
      assert.equal(ground, scheme === 'dark' ? 'rgb(14, 18, 23)' : 'rgb(245, 246, 248)')
      for (const state of ['ok', 'degraded', 'down', 'lost', 'paused']) {
        await tab.evaluate(`document.getElementById('state').dataset.state = '${state}'`)
        const { checked, low } = await tab.evaluate<{ checked: number; low: string[] }>(
          `(${LOW_CONTRAST})(${CONTRAST_MIN})`,
        )
        assert.ok(checked > 60, String(checked))
        assert.deepEqual(low, [], state)
      }
    })
  }

  test('a phone of 360 px shows it without scrolling sideways', async () => {
    const tab = await open(PHONE)
    await tab.until('samples are there', `(${INK})('hits', '--first') > 5`)
    const { width, wide } = await tab.evaluate<{ width: number; wide: string[] }>(`({
      width: document.documentElement.scrollWidth,
      wide: [...document.querySelectorAll('main *')].filter(each => !each.closest('.scroll, .unseen') && each.getBoundingClientRect().right > 361).map(each => each.outerHTML.slice(0, 80)),
    })`)
    assert.equal(width, 360)
    assert.deepEqual(wide, [])
  })

  test('a hidden tab asks nothing, and shows what was missed when it is seen again', async () => {
    const tab = await open()
    await tab.evaluate(`{
      const fetched = window.fetch
      window.asked = 0
      window.fetch = (...args) => (window.asked++, fetched(...args))
      window.hide = isHidden => {
        Object.defineProperty(document, 'hidden', { value: isHidden, configurable: true })
        document.dispatchEvent(new Event('visibilitychange'))
      }
    }`)
    await tab.until('it asks', 'window.asked > 0')
    await tab.evaluate('window.hide(true)')
    await sleep(500)
    await tab.evaluate('window.asked = 0')
    await sleep(2_500)
    assert.equal(await tab.evaluate('window.asked'), 0)
    await tab.evaluate('window.hide(false)')
    await tab.until('it asks again', 'window.asked > 0', 1_900)
  })

  test('an engine that goes is told once, with the time; when it is back the page goes on', async () => {
    const tab = await open(PHONE)
    await tab.evaluate(`{
      window.told = []
      new MutationObserver(() => window.told.push(document.getElementById('announce').textContent.replace(/\\d\\d/g, '00')))
        .observe(document.getElementById('announce'), { childList: true, characterData: true, subtree: true })
    }`)
    await engine.stop()
    await tab.until(
      'it says so',
      `/^No answer since \\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('state-words').textContent)`,
    )
    assert.equal(await tab.evaluate(`document.querySelectorAll('#ops tbody tr').length > 0`), true)
    await sleep(500)
    // Back without its database: what is not there is said plainly.
    await engine.start({ HEARTH_POSTGRES_URL: '' })
    await tab.until('it is back', `document.getElementById('state').dataset.state === 'ok'`)
    await tab.until(
      'no database',
      `/No Postgres database is configured/.test(document.getElementById('postgres').innerText)`,
    )
    // An engine that still starts, or stops, may be seen to be down in between.
    const told = (await tab.evaluate<string[]>('window.told')).filter(
      each => !each.startsWith('Down'),
    )
    assert.deepEqual(told, ['No answer since 00:00:00; trying again', 'All is well'])
  })
})

async function work(client: Hearth, at: number): Promise<void> {
  const keys = [`page:${at % 40}`, `page:${(at * 7) % 90}`]
  for (const key of keys)
    if ((await client.cache.get(key)) === undefined) await client.cache.set(key, { at })
  if (at % 4 === 0) await client.db.query('select $1::int as at', [at])
}

interface AxNode {
  readonly ignored: boolean
  readonly role: { readonly value: string }
  readonly name?: { readonly value: string }
}

// What follows runs in the page.

/** How many pixels of a chart have about the colour of a custom property. */
const INK = `(chart, property) => {
  const canvas = document.querySelector('[data-chart=' + chart + '] canvas')
  if (canvas === null || canvas.width === 0) return 0
  const colour = getComputedStyle(document.documentElement).getPropertyValue(property).trim()
  const wanted = [1, 3, 5].map(at => Number.parseInt(colour.slice(at, at + 2), 16))
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true })
  copy.drawImage(canvas, 0, 0)
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height)
  let count = 0
  for (let at = 0; at < data.length; at += 4)
    if (data[at + 3] > 200 && wanted.every((part, i) => Math.abs(part - data[at + i]) < 12)) count++
  return count
}`

const NAME_OF = `element => element.tagName + ' ' + element.textContent.trim().slice(0, 60)`

/** All that can have the focus and is to be seen, in the order of the page. */
const CONTROLS = `() => [...document.querySelectorAll('a[href], button, summary, [tabindex="0"]')]
  .filter(element => element.checkVisibility())
  .map(${NAME_OF})`

/** Texts whose contrast to what they stand on is too low (WCAG 2.2, 1.4.3). */
const LOW_CONTRAST = `least => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number)
  const luminance = colour => {
    const [r, g, b] = parts(colour).map(part => {
      const share = part / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const groundOf = element => {
    for (let each = element; each !== null; each = each.parentElement) {
      const { backgroundColor } = getComputedStyle(each)
      if ((parts(backgroundColor)[3] ?? 1) === 1) return backgroundColor
    }
    return 'rgb(255, 255, 255)'
  }
  const low = []
  let checked = 0
  for (const element of document.querySelectorAll('body *')) {
    const hasText = [...element.childNodes].some(({ nodeType, data }) => nodeType === 3 && data.trim() !== '')
    if (!hasText || !element.checkVisibility()) continue
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(groundOf(element))]
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    checked++
    if (ratio < least) low.push(ratio.toFixed(2) + ' ' + element.outerHTML.slice(0, 100))
  }
  return { checked, low }
}`
