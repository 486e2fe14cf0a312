/** Output: what the CLI writes, and where to.
 *  Owns:   stdout and stderr.   Not here: what values look like (values.ts), tables (table.ts).
 *  Thread: main.
 *  Holds:  colours only where the stream is a terminal and NO_COLOR is not set (util.styleText sees to both). */

import { styleText } from 'node:util'
import { jsonText } from './values.ts'

export type Style = Parameters<typeof styleText>[0]

export function print(text: string): void {
  process.stdout.write(text + '\n')
}

/** One line for programs, indented for people at a terminal. */
export function printJson(value: unknown): void {
  print(jsonText(value, process.stdout.isTTY ? 2 : 0))
}

export function complain(text: string): void {
  process.stderr.write(text + '\n')
}

export function styled(
  style: Style,
  text: string,
  stream: NodeJS.WriteStream = process.stdout,
): string {
  return styleText(style, text, { stream })
}

/** A reader that has seen enough closes the pipe: that ends the command, quietly, or does what `whenReaderLeaves` was given. */
export function leaveWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error
      leave()
    })
  }
}

export function whenReaderLeaves(act: () => void): void {
  leave = act
}

let leave = (): void => process.exit(0)
