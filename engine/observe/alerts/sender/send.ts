/** send: what every channel is: a function that sends one message.
 *  Owns:   the type.   Thread: the sender's main.   Holds: it may reject; whoever calls it takes that as a failure. */

import type { AlertMessage, SendResult } from '../message.ts'

export type Send = (message: AlertMessage) => Promise<SendResult>
