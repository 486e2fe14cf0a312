/** conninfo: host and port in a connection string, of either of libpq's two forms.
 *  Owns:   nothing.   Thread: any.
 *  Holds:  everything else in the string is left as it is.   Not here: connecting with it. */

export interface Address {
  readonly host: string
  readonly port: number
}

/** Where a url or a keyword string leads to; host '' where it does not say. Of several hosts the first. */
export function addressOf(url: string): Address {
  const isUri = /^postgres(?:ql)?:\/\//.test(url)
  const named = (name: string) => (isUri ? parameterOf(url, name) : keywordOf(url, name))
  const authority = isUri ? /\/\/(?:[^@/?]*@)?([^/?]*)/.exec(url)![1]! : ''
  const [, host = '', port = ''] =
    /^(\[[^\]]*\]|[^:,]*)(?::(\d+))?/.exec(authority.split(',')[0]!) ?? []
  const first = (text: string | undefined) => text?.split(',')[0]
  return {
    host: first(named('host')) ?? decodeURIComponent(host.replace(/^\[|\]$/g, '')),
    port: Number(first(named('port')) ?? (port || 5432)),
  }
}

/** A standby's primary_conninfo with another server in it. */
export function withAddress(conninfo: string, { host, port }: Address): string {
  const rest = without(conninfo, ['host', 'hostaddr', 'port'])
  const quoted = `'${host.replace(/[\\']/g, '\\$&')}'`
  return `${host === '' ? '' : `host=${quoted} `}port=${port}${rest === '' ? '' : ` ${rest}`}`
}

/** The command-line options that a connection string asks the server for. */
export function optionsOf(url: string): string | undefined {
  const isUri = /^postgres(?:ql)?:\/\//.test(url)
  return isUri ? parameterOf(url, 'options') : keywordOf(url, 'options')
}

/** A keyword string less some of its keywords. */
export function without(conninfo: string, keywords: readonly string[]): string {
  const pair = `\\b(${keywords.join('|')})\\s*=\\s*('(?:[^'\\\\]|\\\\.)*'|\\S+)\\s*`
  return conninfo.replace(new RegExp(pair, 'g'), '').trim()
}

function parameterOf(url: string, name: string): string | undefined {
  const found = new RegExp(`[?&]${name}=([^&]*)`).exec(url)
  return found === null ? undefined : decodeURIComponent(found[1]!)
}

function keywordOf(text: string, name: string): string | undefined {
  const found = new RegExp(`\\b${name}\\s*=\\s*(?:'((?:[^'\\\\]|\\\\.)*)'|(\\S+))`).exec(text)
  if (found === null) return undefined
  return (found[1] ?? found[2] ?? '').replace(/\\(.)/g, '$1')
}
