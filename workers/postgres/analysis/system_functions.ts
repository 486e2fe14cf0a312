/** system_functions: what is known of functions that came with the server, beyond pg_proc.provolatile.
 *  Owns:   the lists.   Not here: functions of users, which are judged by their bodies (verdict.ts).
 *  Thread: postgres worker.
 *  Holds:  a function that is on no list is what its volatility allows at worst. Names are those of release 18; a newer server's new
 *          functions are on no list. */

/** STABLE only because they depend on settings of the session (TimeZone, DateStyle, lc_monetary, default_text_search_config), its
 *  role or its database: all sessions of a pool have the same ones, set by its url, and a session that was changed is reset before
 *  it is used again. Or on labels of enums and text search configurations, which are schema. Not among them is what looks into
 *  catalogs, tables or the server's state, and what may read 'now' in a text (the input of dates, jsonb_to_record). */
const DEPEND_ON_SETTINGS = new Set(
  `anytextcat array_to_json array_to_string concat concat_ws convert convert_from convert_to current_catalog current_database
  current_role current_schema current_schemas current_user date date_add date_part date_subtract date_trunc enum_first enum_last
  enum_range extract format generate_series get_current_ts_config getdatabaseencoding in_range interval_pl_timestamptz
  json_build_array json_build_object json_to_tsvector jsonb_build_array jsonb_build_object jsonb_path_exists_tz jsonb_path_match_tz
  jsonb_path_query_array_tz jsonb_path_query_first_tz jsonb_path_query_tz jsonb_to_tsvector length make_timestamptz money numeric
  overlaps pg_client_encoding pg_collation_for pg_typeof phraseto_tsquery plainto_tsquery quote_literal quote_nullable row_to_json
  session_user textanycat time timestamp timestamptz timestamptz_mi_interval timestamptz_pl_interval timetz timezone to_char to_date
  to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector ts_headline ts_match_tq ts_match_tt websearch_to_tsquery`.split(
    /\s+/,
  ),
)
/** json_agg and its kin with their parts; comparisons of dates and moments, which depend on TimeZone. */
const DEPEND_ON_SETTINGS_TOO =
  /^(?:jsonb?_(?:object_)?agg(?:_\w+)?|(?:date|timestamp|timestamptz)_(?:cmp|eq|ge|gt|le|lt|ne)_(?:date|timestamp|timestamptz))$/

export function dependsOnSettings(name: string): boolean {
  return DEPEND_ON_SETTINGS.has(name) || DEPEND_ON_SETTINGS_TOO.test(name)
}

/** They tell the time of a transaction or statement: the same on every server, and never the same twice. */
export function tellsTime(name: string): boolean {
  return /^(?:now|transaction_timestamp|statement_timestamp)$/.test(name)
}

/** VOLATILE ones that run SQL they are given, or change what later statements of the session mean. */
export function runsAnything(name: string): boolean {
  return /^(?:query_to_xml|query_to_xmlschema|query_to_xml_and_xmlschema|cursor_to_xml|cursor_to_xmlschema|ts_stat|ts_rewrite|set_config)$/.test(
    name,
  )
}

/** VOLATILE ones that leave something behind, though in no table of a user: numbers, messages, large objects. */
export function leavesSomething(name: string): boolean {
  return /^(?:nextval|setval|pg_notify|pg_logical_emit_message|lowrite|lo_\w+)$/.test(name)
}

/** Extensions whose VOLATILE functions make random values and touch no table. */
export function onlyMakesValues(extension: string): boolean {
  return extension === 'uuid-ossp' || extension === 'pgcrypto'
}
