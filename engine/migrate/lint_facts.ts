/** lint_facts: what a rule of the lint may know of the database, and what it says.
 *  Owns:   the types.   Not here: the rules (lint_rules.ts), where facts come from (lint.ts).   Thread: main of a command.
 *  Holds:  undefined stands for what is not known: what may be a danger is then told of, and refused to nobody. */

/** What a rule says. */
export interface Danger {
  readonly code: string
  /** As the text has it; none: no table in particular. */
  readonly table?: string
  readonly danger: string
  readonly safe: string
  /** Whatever the size: users break, or it fails. */
  readonly anySize?: true
}

export interface TableFacts {
  /** As the planner last saw it; of one that it never did, by its size on disk. */
  readonly rows: number
  readonly bytes: number
}

/** What is known of the database. Without one, nothing is. */
export interface Facts {
  table(name: string): Promise<TableFacts | undefined>
  /** As format_type has it. */
  columnType(table: string, column: string): Promise<string | undefined>
  /** There is a validated CHECK (column IS NOT NULL). */
  isCheckedNotNull(table: string, column: string): Promise<boolean>
  isVolatile(name: string): Promise<boolean | undefined>
}
