/** load: the types of load.cjs and of the addon behind it.
 *  Owns: nothing.   Thread: any.   Holds: mirrors src/addon_*.c; index.ts is what others use. */
import type { Credentials, LibpqInfo } from './index.ts'
import type { NativePipelineClass } from './pipeline.ts'

/** Functions that meet the system return a negative errno for an error. */
export interface NativeAddon {
  mapFile(path: string, bytes: number, mode: number, reserve: boolean): ArrayBuffer | number
  mapExistingFile(path: string, isWritable: boolean, ownerUid: number): ArrayBuffer | number
  unmapFile(buffer: ArrayBuffer): void
  holdGuard(path: string, at: number): { handle: object; wordAt: number } | number
  releaseGuard(handle: object): void
  peerCredentials(fd: number): Credentials | number
  sendDatagram(address: string, text: string): number
  listeningPath(fd: number): string | number
  keepDescriptor(fd: number): number
  trimMemory(): boolean
  tuneAllocator(arenasMax: number, trimThresholdBytes: number, topPadBytes: number): boolean
  startWriteback(fd: number, at: number, bytes: number): number
  doorbellOpen(callback: () => void): number
  doorbellRing(number: number): boolean
  doorbellClose(number: number): void
  libpqConfigure(paths: readonly string[]): boolean
  libpqLoad(paths: readonly string[], nodeOpensslMajor: number): LibpqInfo | string
  libpqPolicy(
    libraryMajor: number,
    nodeMajor: number,
    mallocInterposed: boolean,
    canDeepBind: boolean,
  ): { deepBind: boolean; tls: boolean }
  libraryOpensslMajor(path: string): number
  readonly Pipeline: NativePipelineClass
}

export function loadNative(from?: string): NativeAddon
export function bindingFolder(from?: string): string
