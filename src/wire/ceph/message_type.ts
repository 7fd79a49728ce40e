/**
 * Message types of Ceph: the `type` field of ceph_msg_header2. The numbers are those of Ceph 14 to
 * 20 (msg/Message.h and include/ceph_fs.h there name them CEPH_MSG_… and MSG_…); the msgr2 document
 * leaves the field to the application.
 *
 * @module
 */

/** What a message header says about the encoding of one kind of message. */
export interface MessageKind {
  /** One of {@linkcode MessageType}, or a number of one's own from {@linkcode PRIVATE_TYPE_MIN}. */
  readonly type: number;
  /** Version of the payload's encoding. */
  readonly version: number;
  /** Oldest version a decoder must know. */
  readonly compatVersion: number;
}

/** From here up Ceph uses no number (its highest is 0x801): Fairlead's own messages live here. */
export const PRIVATE_TYPE_MIN = 0xfa00;

/** Ceph's message types by name. */
export const MessageType = {
  Shutdown: 1,
  Ping: 2,

  // client and monitor
  MonMap: 4,
  MonGetMap: 5,
  MonGetOsdMap: 6,
  MonMetadata: 7,
  Statfs: 13,
  StatfsReply: 14,
  MonSubscribe: 15,
  MonSubscribeAck: 16,
  Auth: 17,
  AuthReply: 18,
  MonGetVersion: 19,
  MonGetVersionReply: 20,
  PoolOpReply: 48,
  PoolOp: 49,
  MonCommand: 50,
  MonCommandAck: 51,
  Log: 52,
  LogAck: 53,
  KvData: 54,
  Class: 56,
  ClassAck: 57,
  GetPoolStats: 58,
  GetPoolStatsReply: 59,
  Config: 62,
  GetConfig: 63,

  // client and MDS
  MdsMap: 21,
  ClientSession: 22,
  ClientReconnect: 23,
  ClientRequest: 24,
  ClientRequestForward: 25,
  ClientReply: 26,
  ClientReclaim: 27,
  ClientReclaimReply: 28,
  ClientMetrics: 29,
  FsMap: 45,
  FsMapUser: 103,
  ClientCaps: 0x310,
  ClientLease: 0x311,
  ClientSnap: 0x312,
  ClientCapRelease: 0x313,
  ClientQuota: 0x314,

  // client and OSD
  OsdMap: 41,
  OsdOp: 42,
  OsdOpReply: 43,
  WatchNotify: 44,
  OsdBackoff: 61,
  Command: 97,
  CommandReply: 98,

  // between monitors
  Paxos: 40,
  Forward: 46,
  Route: 47,
  MonGlobalId: 60,
  MonScrub: 64,
  MonElection: 65,
  MonPaxos: 66,
  MonProbe: 67,
  MonJoin: 68,
  MonSync: 69,
  MonPing: 140,
  MonUsedPendingKeys: 141,
  Timecheck: 0x600,
  MonHealth: 0x601,
  MonHealthChecks: 0x608,
  Timecheck2: 0x609,

  // OSD and monitor
  OsdBoot: 71,
  OsdFailure: 72,
  OsdAlive: 73,
  OsdMarkMeDown: 74,
  OsdFull: 75,
  MonGetPurgedSnaps: 76,
  MonGetPurgedSnapsReply: 77,
  OsdPgTemp: 78,
  OsdBeacon: 79,
  PgStats: 87,
  PgStatsAck: 88,
  OsdPgCreate: 89,
  RemoveSnaps: 90,
  OsdPgCreated: 116,
  OsdPgCreate2: 120,
  OsdPgReadyToMerge: 122,
  OsdMarkMeDead: 123,

  // between OSDs
  OsdPing: 70,
  OsdPgNotify: 80,
  OsdPgQuery: 81,
  OsdPgSummary: 82,
  OsdPgLog: 83,
  OsdPgRemove: 84,
  OsdPgInfo: 85,
  OsdPgTrim: 86,
  OsdScrub: 91,
  OsdScrubReserve: 92,
  OsdRepScrub: 93,
  OsdPgScan: 94,
  OsdPgBackfill: 95,
  OsdPgBackfillRemove: 96,
  OsdBackfillReserve: 99,
  OsdPgPush: 105,
  OsdPgPull: 106,
  OsdPgPushReply: 107,
  OsdEcWrite: 108,
  OsdEcWriteReply: 109,
  OsdEcRead: 110,
  OsdEcReadReply: 111,
  OsdRepOp: 112,
  OsdRepOpReply: 113,
  OsdPgUpdateLogMissing: 114,
  OsdPgUpdateLogMissingReply: 115,
  OsdRepScrubMap: 117,
  OsdPgRecoveryDelete: 118,
  OsdPgRecoveryDeleteReply: 119,
  OsdScrub2: 121,
  OsdPgNotify2: 130,
  OsdPgQuery2: 131,
  OsdPgInfo2: 132,
  OsdPgLease: 133,
  OsdPgLeaseAck: 134,
  OsdPgPct: 136,
  OsdRecoveryReserve: 150,
  OsdForceRecovery: 151,

  // MDS
  MdsBeacon: 100,
  MdsPeerRequest: 101,
  MdsTableRequest: 102,
  MdsScrub: 135,
  MdsResolve: 0x200,
  MdsResolveAck: 0x201,
  MdsCacheRejoin: 0x202,
  MdsDiscover: 0x203,
  MdsDiscoverReply: 0x204,
  MdsInodeUpdate: 0x205,
  MdsDirUpdate: 0x206,
  MdsCacheExpire: 0x207,
  MdsDentryUnlink: 0x208,
  MdsFragmentNotify: 0x209,
  MdsOffloadTargets: 0x20a,
  MdsDentryLink: 0x20c,
  MdsFindIno: 0x20d,
  MdsFindInoReply: 0x20e,
  MdsOpenIno: 0x20f,
  MdsOpenInoReply: 0x210,
  MdsSnapUpdate: 0x211,
  MdsFragmentNotifyAck: 0x212,
  MdsLock: 0x300,
  MdsInodeFileCaps: 0x301,
  MdsExportDirDiscover: 0x449,
  MdsExportDirDiscoverAck: 0x450,
  MdsExportDirCancel: 0x451,
  MdsExportDirPrep: 0x452,
  MdsExportDirPrepAck: 0x453,
  MdsExportDirWarning: 0x454,
  MdsExportDirWarningAck: 0x455,
  MdsExportDir: 0x456,
  MdsExportDirAck: 0x457,
  MdsExportDirNotify: 0x458,
  MdsExportDirNotifyAck: 0x459,
  MdsExportDirFinish: 0x460,
  MdsExportCaps: 0x470,
  MdsExportCapsAck: 0x471,
  MdsGatherCaps: 0x472,
  MdsHeartbeat: 0x500,
  MdsMetrics: 0x501,
  MdsPing: 0x502,
  MdsScrubStats: 0x503,
  MdsQuiesceDbListing: 0x505,
  MdsQuiesceDbAck: 0x506,

  // manager and services
  MgrOpen: 0x700,
  MgrConfigure: 0x701,
  MgrReport: 0x702,
  MgrBeacon: 0x703,
  MgrMap: 0x704,
  MgrDigest: 0x705,
  MonMgrReport: 0x706,
  ServiceMap: 0x707,
  MgrClose: 0x708,
  MgrCommand: 0x709,
  MgrCommandReply: 0x70a,
  MgrUpdate: 0x70b,
  NvmeofGwMap: 0x800,
  NvmeofGwBeacon: 0x801,

  Nop: 0x607,
} as const;

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(MessageType).map(([key, type]) => [
    type,
    key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).slice(1),
  ]),
);

/** A type in words: `mon_command`; a number of our own range is `private 0xfa01`. */
export function messageTypeName(type: number): string {
  const known = NAMES.get(type);
  if (known !== undefined) return known;
  return type >= PRIVATE_TYPE_MIN ? `private 0x${type.toString(16)}` : `type ${type}`;
}
