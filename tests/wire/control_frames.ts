/**
 * Control frames of real Ceph in msgr2.1-crc, whole: 32 bytes of preamble, the payload, and the
 * payload's crc from seed -1 when there is a payload. Captured on loopback from 16.2.15 (Debian
 * 16.2.15+ds-0+deb12u2) and 20.2.4 (20.2.4+ds-2) in November 2026. The clusters were thrown away,
 * and with them the keys.
 *
 * @module
 */
import { Tag } from "../../src/wire/msgr2/tag.ts";

/** A frame and what it says. */
export interface ControlFrame {
  /** Release as far as it was noted, authentication method, connection mode, and who sent it. */
  readonly origin: string;
  readonly tag: number;
  readonly frame: string;
  /** The fields as another decoder saw them, named as in our records. */
  readonly fields: string;
}

/** Every frame that was recorded whole and in the clear, each once. */
export const CONTROL_FRAMES: readonly ControlFrame[] = [
  {
    origin: "16.2.15, none, crc, server",
    tag: Tag.Hello,
    frame: "010124000000080000000000000000000000000000000000000000003fbd6b06010101011c0000000200" +
      "00000000000010000000020087127f00000100000000000000000d2e3ed1",
    fields: "entityType=1 peerAddr=v2:127.0.0.1:34578/0",
  },
  {
    origin: "16.2.15, none, crc, client",
    tag: Tag.Hello,
    frame: "010124000000080000000000000000000000000000000000000000003fbd6b06080101011c0000000200" +
      "00000000000010000000020033f47f000001000000000000000030054af0",
    fields: "entityType=8 peerAddr=v2:127.0.0.1:13300/0",
  },
  {
    origin: "16.2.15, none, crc, client",
    tag: Tag.AuthRequest,
    frame: "020126000000080000000000000000000000000000000000000000008c5ee4be01000000010000000100" +
      "0000160000000a080000000500000061646d696e0000000000000000d8ede50c",
    fields: "method=1 modes=[1] payload=0a080000000500000061646d696e0000000000000000",
  },
  {
    origin: "16.2.15, none, crc, server",
    tag: Tag.AuthDone,
    frame: "060110000000080000000000000000000000000000000000000000005b0630a613100000000000000100" +
      "00000000000048b6eb95",
    fields: "globalId=0x1013 mode=1 payload=",
  },
  {
    origin: "16.2.15, none, crc, server",
    tag: Tag.AuthSignature,
    frame: "07012000000008000000000000000000000000000000000000000000a80c987200000000000000000000" +
      "0000000000000000000000000000000000000000000055c96e75",
    fields: "signature=0000000000000000000000000000000000000000000000000000000000000000",
  },
  {
    origin: "16.2.15, none, crc, client",
    tag: Tag.ClientIdent,
    frame: "08017b00000008000000000000000000000000000000000000000000738a989502010000000101011c00" +
      "0000030000001c7c8e8e10000000020000007f00000100000000000000000101011c0000000200000000" +
      "00000010000000020033f47f0000010000000000000000ffffffffffffffff0100000000000000fffffd" +
      "ffbdcf013f000000000000000800000000000000001f3e3c1237e0f340b786a804",
    fields: "addrs=any:127.0.0.1:0/2391702556 gid=0xffffffffffffffff globalSeq=1 supported=0x3f01" +
      "cfbdfffdffff required=0x800000000000000 flags=0x0 cookie=0x40f3e037123c3e1f target=v" +
      "2:127.0.0.1:13300/0",
  },
  {
    origin: "16.2.15, none, crc, server",
    tag: Tag.ServerIdent,
    frame: "0901580000000800000000000000000000000000000000000000000083a1f3e602010000000101011c00" +
      "0000020000000000000010000000020033f47f0000010000000000000000000000000000000013000000" +
      "00000000fffffdffbdcf013f000004420002010c0100000000000000000000000000000072fef0ee",
    fields: "addrs=v2:127.0.0.1:13300/0 gid=0x0 globalSeq=19 supported=0x3f01cfbdfffdffff require" +
      "d=0xc01020042040000 flags=0x1 cookie=0x0",
  },
  {
    origin: "16.2.15, cephx, secure, server",
    tag: Tag.Hello,
    frame: "010124000000080000000000000000000000000000000000000000003fbd6b06010101011c0000000200" +
      "000000000000100000000200d3fc7f000001000000000000000001e6f3a8",
    fields: "entityType=1 peerAddr=v2:127.0.0.1:54268/0",
  },
  {
    origin: "16.2.15, cephx, secure, client",
    tag: Tag.AuthRequest,
    frame: "020126000000080000000000000000000000000000000000000000008c5ee4be02000000010000000200" +
      "0000160000000a080000000500000061646d696e0000000000000000a3ceb8f6",
    fields: "method=2 modes=[2] payload=0a080000000500000061646d696e0000000000000000",
  },
  {
    origin: "16.2.15, cephx, secure, server",
    tag: Tag.AuthReplyMore,
    frame: "04010d000000080000000000000000000000000000000000000000006a094bc50900000001f19fb18fc0" +
      "b8ebde5c6d6113",
    fields: "payload=01f19fb18fc0b8ebde",
  },
  {
    origin: "16.2.15, cephx, secure, client",
    tag: Tag.AuthRequestMore,
    frame: "05012800000008000000000000000000000000000000000000000000b83ac75b24000000000103c1dc58" +
      "ed9d6f493a48fd24522a7d5eec01000000000000000000000000200000003ba40c8c",
    fields: "payload=000103c1dc58ed9d6f493a48fd24522a7d5eec0100000000000000000000000020000000",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, server",
    tag: Tag.Hello,
    frame: "010124000000080000000000000000000000000000000000000000003fbd6b06040101011c0000000200" +
      "000000000000100000000200e4b07f0000010000000000000000d045e547",
    fields: "entityType=4 peerAddr=v2:127.0.0.1:58544/0",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, server",
    tag: Tag.AuthReplyMore,
    frame: "0401240000000800000000000000000000000000000000000000000039f7f02720000000a4b475dc59aa" +
      "0577dd8ea8a66ecd5606f0470c00a4774e95b5b795be9c685abd7ca60cd9",
    fields: "payload=a4b475dc59aa0577dd8ea8a66ecd5606f0470c00a4774e95b5b795be9c685abd",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, server",
    tag: Tag.AuthDone,
    frame: "06013400000008000000000000000000000000000000000000000000b23a07b717100000000000000100" +
      "000024000000200000005d26e257407a2aa4598c53e619947041b78ee60a2ee6caa3ba7a41043cd487fd" +
      "116fdd38",
    fields: "globalId=0x1017 mode=1 payload=200000005d26e257407a2aa4598c53e619947041b78ee60a2ee6c" +
      "aa3ba7a41043cd487fd",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, client",
    tag: Tag.AuthSignature,
    frame: "07012000000008000000000000000000000000000000000000000000a80c98724b3a956423103291c3ec" +
      "0507377781ec154154924193298f48e49383f5f31f4f4b1119eb",
    fields: "signature=4b3a956423103291c3ec0507377781ec154154924193298f48e49383f5f31f4f",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, server",
    tag: Tag.AuthSignature,
    frame: "07012000000008000000000000000000000000000000000000000000a80c987237e7773d7883731e57cb" +
      "f32a388543359c5304218f2ffa56f97f44979daedc90eb4edc61",
    fields: "signature=37e7773d7883731e57cbf32a388543359c5304218f2ffa56f97f44979daedc90",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, client",
    tag: Tag.ClientIdent,
    frame: "08017b00000008000000000000000000000000000000000000000000738a989502010000000101011c00" +
      "00000300000037698b4610000000020000007f00000100000000000000000101011c000000020000004d" +
      "1a00001000000002001a907f000001000000000000000017100000000000000200000000000000fffffd" +
      "ffbdcf013f00100000000000080100000000000000000000000000000099f86ce0",
    fields: "addrs=any:127.0.0.1:0/1183541559 gid=0x1017 globalSeq=2 supported=0x3f01cfbdfffdffff" +
      " required=0x800000000001000 flags=0x1 cookie=0x0 target=v2:127.0.0.1:6800/6733",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, server",
    tag: Tag.ServerIdent,
    frame: "0901580000000800000000000000000000000000000000000000000083a1f3e602010000000101011c00" +
      "0000020000004d1a00001000000002001a907f0000010000000000000000000000000000000003000000" +
      "00000000fffffdffbdcf013f000004420002010c01000000000000000000000000000000da2a7574",
    fields: "addrs=v2:127.0.0.1:6800/6733 gid=0x0 globalSeq=3 supported=0x3f01cfbdfffdffff requir" +
      "ed=0xc01020042040000 flags=0x1 cookie=0x0",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, server",
    tag: Tag.Hello,
    frame: "010124000000080000000000000000000000000000000000000000003fbd6b06040101011c0000000200" +
      "000000000000100000000200e4b27f00000100000000000000001a354126",
    fields: "entityType=4 peerAddr=v2:127.0.0.1:58546/0",
  },
  {
    origin: "16.2.15, cephx, crc, to an osd, client",
    tag: Tag.Hello,
    frame: "010124000000080000000000000000000000000000000000000000003fbd6b06080101011c0000000200" +
      "00004d1a00001000000002001a907f0000010000000000000000fb928de8",
    fields: "entityType=8 peerAddr=v2:127.0.0.1:6800/6733",
  },
  {
    origin: "20.2.4, cephx with aes256k, secure, server",
    tag: Tag.Hello,
    frame: "010124000000080000000000000000000000000000000000000000003fbd6b06010101011c0000000200" +
      "000000000000100000000200c69e7f0000010000000000000000bb56fb90",
    fields: "entityType=1 peerAddr=v2:127.0.0.1:50846/0",
  },
  {
    origin: "20.2.4, cephx with aes256k, secure, server",
    tag: Tag.AuthReplyMore,
    frame: "04010d000000080000000000000000000000000000000000000000006a094bc509000000016fafe923de" +
      "c21fe950998f19",
    fields: "payload=016fafe923dec21fe9",
  },
  {
    origin: "20.2.4, cephx with aes256k, secure, client",
    tag: Tag.AuthRequestMore,
    frame: "05012800000008000000000000000000000000000000000000000000b83ac75b24000000000103390f72" +
      "431f2bb5a90d591596bb79be5e0100000000000000000000000020000000f9d2ad08",
    fields: "payload=000103390f72431f2bb5a90d591596bb79be5e0100000000000000000000000020000000",
  },
  {
    origin: "lossless peers cut on purpose, crc, client",
    tag: Tag.SessionReconnect,
    frame: "0b0150000000080000000000000000000000000000000000000000009397accf02010000000101011c00" +
      "0000020000000000000010000000020033f57f00000100000000000000000ea5326bd7160cec83804cbc" +
      "3dc4440c28000000000000000500000000000000520100000000000074df7a96",
    fields: "addrs=v2:127.0.0.1:13301/0 clientCookie=0xec0c16d76b32a50e serverCookie=0xc44c43dbc4" +
      "c8083 globalSeq=40 connectSeq=5 messageSeq=338",
  },
  {
    origin: "lossless peers cut on purpose, crc, server",
    tag: Tag.SessionReconnectOk,
    frame: "0f01080000000800000000000000000000000000000000000000000061827cbf2c010000000000009382" +
      "f275",
    fields: "messageSeq=300",
  },
  {
    origin: "lossless peers cut on purpose, crc, server",
    tag: Tag.SessionRetry,
    frame: "0d010800000008000000000000000000000000000000000000000000f8e2bbfe02000000000000003bb7" +
      "afe1",
    fields: "connectSeq=2",
  },
  {
    origin: "lossless peers cut on purpose, crc, server",
    tag: Tag.Wait,
    frame: "10010000000008000000000000000000000000000000000000000000c8e3aab0",
    fields: "",
  },
  {
    origin: "lossless peers cut on purpose, crc, server",
    tag: Tag.SessionReset,
    frame: "0c0101000000080000000000000000000000000000000000000000004abb981901ad2fe95f",
    fields: "full=true",
  },
  {
    origin: "lossless peers cut on purpose, crc, server",
    tag: Tag.Ack,
    frame: "140108000000080000000000000000000000000000000000000000007374bc5b2d01000000000000b4ff" +
      "ce3c",
    fields: "seq=301",
  },
  {
    origin: "lossless peers cut on purpose, crc, client",
    tag: Tag.Keepalive2,
    frame: "12010800000008000000000000000000000000000000000000000000d8d5f5997801016b43f2801c6cca" +
      "9579",
    fields: "seconds=1795228024 nanoseconds=478212675",
  },
  {
    origin: "lossless peers cut on purpose, crc, server",
    tag: Tag.Keepalive2Ack,
    frame: "13010800000008000000000000000000000000000000000000000000ec5ee03b7801016b43f2801c6cca" +
      "9579",
    fields: "seconds=1795228024 nanoseconds=478212675",
  },
  {
    origin: "20.2.4, between two osds, client",
    tag: Tag.CompressionRequest,
    frame: "15010900000008000000000000000000000000000000000000000000487b07d4000100000001000000c3" +
      "4063d0",
    fields: "enabled=false methods=[1]",
  },
  {
    origin: "20.2.4, between two osds, server",
    tag: Tag.CompressionDone,
    frame: "1601050000000800000000000000000000000000000000000000000050d6f7e90000000000ca898dba",
    fields: "enabled=false method=0",
  },
];
