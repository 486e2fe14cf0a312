/** question: what the server is asked about a statement that it has parsed and analysed as the body of a function.
 *  Owns:   the SQL, and the shape of its answer.   Not here: how the function comes to be (probe.ts), what follows (verdict.ts).
 *  Thread: postgres worker.
 *  Holds:  (1) one row with one JSON text, whatever the statement.  (2) it reads catalogs alone, with search_path = pg_catalog.
 *          (3) what the tree names is a superset of what is used: a doubt adds a table, a function or a flag, it never hides one.
 *
 *  pg_proc.prosqlbody, pg_rewrite.ev_action, pg_attrdef.adbin … hold trees of nodes as text, in which each field is `:name value`.
 *  Text that users wrote stands in them with its spaces, brackets and backslashes escaped, so no name looks like two fields. From
 *  one tree to the next goes `seen`, which says of what was found:
 *
 *      f  a function ─▶ its body, if that is a tree too (BEGIN ATOMIC, RETURN), and the defaults of its arguments; the parts of an
 *         aggregate
 *      r  a relation that is named ─▶ the query of a view, the policies of a table, c: its partitions and heirs
 *      w  one that is written, how (ops, columns) ─▶ defaults, CHECKs, domains, heirs, the tables behind a view, and by foreign keys
 *         that cascade the tables that refer to it
 *         (a row that leaves its partition by an update is deleted there: keys that refer to that partition do what they do then)
 *      d  a domain ─▶ its CHECKs        a  what a relation is accessed for        t  a type of command        !  one of FLAGS */

/** How the fields of RTEPERMISSIONINFO (in RANGETBLENTRY itself before release 16) say what is done to a relation. */
export const OPS = { insert: 1, select: 2, update: 4, delete: 8 } as const

export const FLAGS = {
  locksRows: 1,
  samples: 2,
  tellsTime: 3,
  convertsToTime: 4,
  hasTimeConstant: 5,
  hasSystemColumn: 6,
  hasTimeParameter: 7,
} as const

export interface Answer {
  /** Types of command in all trees: 1 SELECT, 2 UPDATE, 3 INSERT, 4 DELETE, 5 MERGE (before release 15: a utility). */
  readonly commands: readonly number[]
  readonly flags: readonly number[]
  readonly relations: readonly RelationRow[]
  readonly functions: readonly FunctionRow[]
  /** The first of the partitions and heirs of what is read that are foreign or unlogged. */
  readonly strangers: readonly string[]
  /** Topmost ancestors of all that is written, cascades included. */
  readonly writtenRoots: readonly number[]
  /** The first of the triggers and rules that do what cannot be seen. */
  readonly hidden: readonly string[]
}

export interface RelationRow {
  readonly oid: number
  readonly name: string
  /** pg_class.relkind and relpersistence. */
  readonly kind: string
  readonly persistence: string
  readonly hasRowSecurity: boolean
  readonly isSystem: boolean
  /** OPS by the statement's own trees, and by cascades. */
  readonly ops: number
  /** Itself, or its topmost ancestors. */
  readonly roots: readonly number[]
}

export interface FunctionRow {
  readonly name: string
  /** 'v', 's', 'i'. */
  readonly volatility: string
  readonly isSystem: boolean
  readonly language: string
  /** Its body is a tree, or it is an aggregate, whose parts are in the list themselves. */
  readonly isSeen: boolean
  /** The extension that it belongs to, or ''. */
  readonly extension: string
}

/** The first OID that initdb does not give out: what is below came with the server. */
const FIRST_USER_OID = 16_384
/** date, time, timestamp, timestamptz, timetz; their arrays, ranges and multiranges: what may be written 'now'. */
const TIMES =
  '1082|1083|1114|1184|1266|1182|1183|1115|1185|1270|3908|3910|3912|3909|3911|3913|4533|4534|4535'

/** Marks in ops what is written only as the heir or partition of something. */
const HEIR = 16

export const QUESTION = `
with recursive seen(kind, id, ops, cols) as (
  select 'f', p.oid, 0, null::int[] from pg_proc p
  where p.pronamespace = pg_my_temp_schema() and p.proname = 'hearth_probe'
union
  select next.kind, next.id, next.ops, next.cols from seen s cross join lateral (
    select found.* from (
      select concat(p.prosqlbody::text, p.proargdefaults::text) from pg_proc p
      where s.kind = 'f' and p.oid = s.id and (p.prosqlbody is not null or p.proargdefaults is not null)
    union all
      select w.ev_action::text from pg_rewrite w join pg_class c on c.oid = w.ev_class
      where s.kind = 'r' and w.ev_class = s.id and w.ev_type = '1' and c.relkind = 'v' and c.oid >= ${FIRST_USER_OID}
    union all
      select concat(p.polqual::text, p.polwithcheck::text) from pg_policy p where s.kind in ('r', 'w') and p.polrelid = s.id
    union all
      select d.adbin::text from pg_attrdef d where s.kind = 'w' and d.adrelid = s.id
    union all
      select k.conbin::text from pg_constraint k where s.kind = 'w' and k.conrelid = s.id and k.contype = 'c'
    union all
      select k.conbin::text from pg_constraint k where s.kind = 'd' and k.contypid = s.id and k.contype = 'c'
    ) tree(t) cross join lateral (
      select 'r', m[1]::oid, 0, null::int[] from regexp_matches(t, ':relid ([1-9][0-9]*)', 'g') m
    union all
      select 'a', m[1]::oid, m[2]::int, null from regexp_matches(t, ':relid ([1-9][0-9]*) :[^{}]*?:requiredPerms ([0-9]+) ', 'g') m
    union all
      select 'w', written.id, written.ops, written.cols from
        regexp_matches(t, ':relid ([1-9][0-9]*) :[^{}]*?:requiredPerms ([0-9]+) [^{}]*?:updatedCols [(]b([^)]*)[)]', 'g') m
        cross join lateral (select m[1]::oid, (m[2]::int & 9) | case when m[3] = '' then 0 else 4 end,
          (select array_agg(col::int - 7) from unnest(string_to_array(trim(m[3]), ' ')) col where m[3] <> '')) written(id, ops, cols)
      where written.ops > 0
    union all
      select 'f', p.oid, 0, null from regexp_matches(t, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([1-9][0-9]*)', 'g') m
        join pg_proc p on p.oid = m[1]::oid where p.oid >= ${FIRST_USER_OID} or p.provolatile <> 'i'
    union all
      select 'f', o.oprcode::oid, 0, null from regexp_matches(t, ':opno ([1-9][0-9]*) :opfuncid 0 ', 'g') m
        join pg_operator o on o.oid = m[1]::oid
    union all
      select 'd', y.oid, 0, null from regexp_matches(t, ':resulttype ([1-9][0-9]*)', 'g') m
        join pg_type y on y.oid = m[1]::oid where t like '%{COERCETODOMAIN %' and y.typtype = 'd'
    union all
      select 't', m[1]::oid, 0, null from regexp_matches(t, '[{]QUERY :commandType ([0-9])', 'g') m
    union all
      select '!', flag, 0, null from (values
        (${FLAGS.locksRows}, t like '%:rowMarks (%'),
        (${FLAGS.samples}, t like '%:tablesample {%'),
        (${FLAGS.tellsTime}, t ~ '[{]SQLVALUEFUNCTION :op [0-8] '),
        (${FLAGS.convertsToTime}, t like '%{COERCEVIAIO %' and t ~ ':resulttype (?:${TIMES}) '
          or t ~ '[{](?:TABLEFUNC|JSONEXPR) ' and t ~ '[ (](?:${TIMES})[ )]'),
        (${FLAGS.hasTimeConstant}, t ~ ':consttype (?:${TIMES}) '),
        (${FLAGS.hasSystemColumn}, t ~ ':varattno -[1-5] '),
        (${FLAGS.hasTimeParameter}, t ~ ':paramtype (?:${TIMES}) ')) flags(flag, is_set) where is_set
    ) found(kind, id, ops, cols)
  union all
    select 'f', part, 0, null from pg_aggregate a cross join unnest(array[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
      a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::oid[]) part
    where s.kind = 'f' and a.aggfnoid = s.id and a.aggfnoid >= ${FIRST_USER_OID} and part > 0
  union all
    select 'd', y.oid, 0, null from pg_attribute a join pg_type y on y.oid = a.atttypid
    where s.kind = 'w' and a.attrelid = s.id and a.attnum > 0 and y.typtype = 'd'
  union all
    select 'd', y.typbasetype, 0, null from pg_type y where s.kind = 'd' and y.oid = s.id and y.typbasetype > 0
  union all
    select 'c', i.inhrelid, 0, null from pg_inherits i where s.kind in ('r', 'c') and i.inhparent = s.id
  union all
    select 'w', i.inhrelid, s.ops | ${HEIR} | case when s.ops & ${OPS.update} > 0 and exists (
        select from pg_partitioned_table y where y.partrelid = s.id and (s.cols is null or 0 = any (y.partattrs::int2[])
          or s.cols && y.partattrs::int2[]::int[]
          or exists (select from pg_attribute a where a.attrelid = s.id and a.attnum = any (y.partattrs::int2[]) and a.attgenerated <> '')
          or exists (select from pg_trigger g where g.tgrelid in (s.id, i.inhrelid) and g.tgtype & 19 = 19 and g.tgfoid >= ${FIRST_USER_OID})
      )) then ${OPS.delete} else 0 end, null
    from pg_inherits i where s.kind = 'w' and i.inhparent = s.id
  union all
    select 'w', m[1]::oid, s.ops, null from pg_rewrite w join pg_class c on c.oid = w.ev_class
      cross join regexp_matches(w.ev_action::text, ':relid ([1-9][0-9]*)', 'g') m
    where s.kind = 'w' and w.ev_class = s.id and w.ev_type = '1' and c.relkind = 'v'
  union all
    select 'w', k.conrelid, case when does.what = 'c' and does.isDelete then ${OPS.delete} else ${OPS.update} end,
      case when does.what = 'c' and does.isDelete then null else k.conkey::int[] end
    from pg_constraint k cross join lateral (values
      (k.confdeltype, true, s.ops & ${OPS.delete} > 0),
      (k.confupdtype, false, s.ops & ${OPS.update} > 0 and (s.cols is null or s.cols && k.confkey::int[]
        or exists (select from pg_attribute a where a.attrelid = s.id and a.attnum = any (k.confkey) and a.attgenerated <> '')
        or exists (select from pg_trigger g where g.tgrelid = s.id and g.tgtype & 19 = 19 and g.tgfoid >= ${FIRST_USER_OID})))
      ) does(what, isDelete, applies)
    where s.kind = 'w' and k.contype = 'f' and k.confrelid = s.id and does.applies and does.what in ('c', 'n', 'd')
  ) next(kind, id, ops, cols)
),
named as (
  select id, bit_or(ops) as ops from seen where kind in ('r', 'a') or kind = 'w' and ops & ${HEIR} = 0 group by id
),
roots as (
  select start.id, (
    with recursive up(id) as (
      select start.id union select i.inhparent from pg_inherits i join up on i.inhrelid = up.id
    ) select array_agg(up.id) from up where not exists (select from pg_inherits i where i.inhrelid = up.id)) as roots
  from (select id from named union select id from seen where kind = 'w') start
)
select json_build_object(
  'commands', (select coalesce(json_agg(distinct id::int), '[]') from seen where kind = 't'),
  'flags', (select coalesce(json_agg(distinct id::int), '[]') from seen where kind = '!'),
  'relations', (select coalesce(json_agg(json_build_object('oid', c.oid::bigint, 'name', format('%I.%I', n.nspname, c.relname),
      'kind', c.relkind, 'persistence', c.relpersistence, 'hasRowSecurity', c.relrowsecurity,
      'isSystem', c.oid < ${FIRST_USER_OID} or n.nspname in ('information_schema', 'pg_toast'), 'ops', named.ops,
      'roots', array(select r.id::bigint from unnest(roots.roots) r(id))) order by n.nspname, c.relname), '[]')
    from named join pg_class c on c.oid = named.id join pg_namespace n on n.oid = c.relnamespace left join roots on roots.id = c.oid),
  'functions', (select coalesce(json_agg(json_build_object('name', p.name, 'volatility', p.provolatile,
      'isSystem', p.oid < ${FIRST_USER_OID}, 'language', p.lanname, 'isSeen', p.prosqlbody is not null or p.prokind = 'a',
      'extension', p.extname) order by p.name), '[]')
    from (select p.*, l.lanname, case when p.oid < ${FIRST_USER_OID} then p.proname else format('%I.%I', n.nspname, p.proname) end as name,
        coalesce((select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
          where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_extension'::regclass
            and d.deptype = 'e'), '') as extname
      from (select distinct id from seen where kind = 'f') s join pg_proc p on p.oid = s.id
        join pg_language l on l.oid = p.prolang join pg_namespace n on n.oid = p.pronamespace
      where p.pronamespace <> pg_my_temp_schema() and (p.oid >= ${FIRST_USER_OID} or p.provolatile <> 'i')) p),
  'strangers', array(select format('%I.%I', n.nspname, c.relname)
    from seen s join pg_class c on c.oid = s.id join pg_namespace n on n.oid = c.relnamespace
    where s.kind = 'c' and (c.relkind = 'f' or c.relpersistence = 'u') order by 1 limit 1),
  'writtenRoots', (select coalesce(json_agg(distinct r.id::bigint), '[]') from seen s join pg_class c on c.oid = s.id
    join roots on roots.id = s.id cross join unnest(roots.roots) r(id) where s.kind = 'w' and c.relkind <> 'v'),
  'hidden', array(select hidden.what from (
      select format('trigger %I on %s calls %s', g.tgname, g.tgrelid::regclass, g.tgfoid::regproc)
      from seen s join pg_class c on c.oid = s.id join pg_trigger g on g.tgrelid = s.id join pg_proc p on p.oid = g.tgfoid
      where s.kind = 'w' and g.tgenabled <> 'D' and p.oid >= ${FIRST_USER_OID} and p.provolatile = 'v'
        and (c.relispartition or (g.tgtype & (((s.ops & ${OPS.insert}) * 4) | (s.ops & ${OPS.delete}) | ((s.ops & ${OPS.update}) * 4))) > 0)
    union all
      select format('rule %I on %s', w.rulename, w.ev_class::regclass)
      from seen s join pg_rewrite w on w.ev_class = s.id
      where s.kind = 'w' and s.ops & ${HEIR} = 0 and w.ev_enabled <> 'D' and (w.ev_type = '2' and s.ops & ${OPS.update} > 0
        or w.ev_type = '3' and s.ops & ${OPS.insert} > 0 or w.ev_type = '4' and s.ops & ${OPS.delete} > 0)
    ) hidden(what) order by 1 limit 1)
)::text`
