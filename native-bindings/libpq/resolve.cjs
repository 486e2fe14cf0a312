'use strict'
/** resolve: host names of a connection string, looked up before libpq would do it with the event loop standing still.
 *  Owns:   nothing.
 *  Thread: any; the lookups run in node's resolver threads.
 *  Holds:  the order of hosts and of each host's addresses is kept, so that libpq tries them as it would have. */
const { lookup } = require('node:dns')
const { isIP } = require('node:net')

/** The hosts as a list of {host, port}, or undefined when none is a name. Lists are comma-separated, as in libpq. */
function hostsToResolve({ host, hostaddr, port }) {
  if (!host || hostaddr) return undefined
  const hosts = host.split(',')
  if (!hosts.some(isName)) return undefined
  const ports = (port ?? '').split(',')
  if (ports.length > 1 && ports.length !== hosts.length) return undefined // libpq has the words for that
  return hosts.map((name, at) => ({ host: name, port: ports.length > 1 ? ports[at] : ports[0] }))
}

/** callback(error) or callback(null, {host, hostaddr, port}): each host once for each of its addresses. A name that is
 *  not found is an error only when no other host is left. */
function resolveHosts(hosts, callback) {
  const found = hosts.map(() => [])
  let waiting = hosts.length
  let failure
  hosts.forEach(({ host, port }, at) => {
    if (!isName(host)) {
      found[at] = [{ host, hostaddr: isIP(host) ? host : '', port }]
      setImmediate(done)
      return
    }
    lookup(host, { all: true, order: 'verbatim' }, (error, addresses) => {
      if (error) failure ??= lookupError(host, error)
      else found[at] = addresses.map(({ address }) => ({ host, hostaddr: address, port }))
      done()
    })
  })
  function done() {
    if (--waiting > 0) return
    const all = found.flat()
    if (all.length === 0) callback(failure)
    else
      callback(null, {
        host: join(all, 'host'),
        hostaddr: join(all, 'hostaddr'),
        port: join(all, 'port'),
      })
  }
}

function isName(host) {
  return host !== '' && !host.startsWith('/') && !host.startsWith('@') && isIP(host) === 0
}

function lookupError(host, error) {
  return Object.assign(
    new Error(`could not translate host name "${host}" to address: ${error.code}`),
    {
      code: error.code,
    },
  )
}

function join(entries, field) {
  return entries.map(entry => entry[field]).join(',')
}

module.exports = { hostsToResolve, resolveHosts }
