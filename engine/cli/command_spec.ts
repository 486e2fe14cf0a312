/** command_spec: what a row of the table of commands holds, and what a command is run with.
 *  Owns:   the types.   Not here: the rows (commands.ts), reading a command line (input.ts).
 *  Thread: main.   Holds: plain data. */

export interface OptionSpec {
  /** What stands for its value in the help; a switch has none. */
  readonly value?: string
  readonly doc: string
  /** May be given more than once. */
  readonly repeats?: true
}

export interface CommandSpec {
  readonly operands: readonly string[]
  readonly summary: string
  /** More than one line holds, for `hearth COMMAND --help`. */
  readonly details?: string
  readonly options: Readonly<Record<string, OptionSpec>>
  /** Left out: the launcher (hearth.cjs) runs it. */
  readonly load?: () => Promise<{ run: Run }>
}

export interface Input {
  readonly operands: readonly string[]
  /** Text of options that take a value, by name. */
  readonly options: Readonly<Record<string, string | undefined>>
  /** Texts of options that may be given more than once, by name. */
  readonly lists: Readonly<Record<string, readonly string[] | undefined>>
  /** Names of the switches that were given. */
  readonly switches: ReadonlySet<string>
  readonly isJson: boolean
}

/** What a command's file exports: it resolves with the exit code. */
export type Run = (input: Input) => Promise<number>
